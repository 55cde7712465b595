"""More photographs than one machine can grade: an exported folder on Ray Data, from and to any address of fsspec."""
