//! REQ by time windows, newest first.
