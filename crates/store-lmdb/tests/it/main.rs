//! What a user of the store sees: one file for each subject.

mod crash;
mod feed;
mod flood;
mod full;
mod opening;
mod pages;
mod queries;
mod real_data;
mod support;
mod verifying;
mod views;
