//! Tests of the retire handler.
