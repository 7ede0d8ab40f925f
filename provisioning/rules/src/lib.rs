//! Decisions of the cloud side, pure: the hooks' and the retire handler's, and the documents they rest on.
