"""The paper's numbers against ours: its tables as data (`paper`), a status for every number (`claims`)."""
