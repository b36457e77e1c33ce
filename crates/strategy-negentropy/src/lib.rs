//! strategy-negentropy
