"""What is said of a photograph: facts from lesion masks, and questions and answers in words."""
