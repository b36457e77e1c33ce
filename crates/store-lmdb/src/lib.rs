//! store-lmdb
