//! strategy-req
