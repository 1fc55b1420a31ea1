//! The runtime of synap.
pub mod cli;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod disk;
pub mod driver;
mod exchange;
pub mod handle;
pub mod http;
pub mod links;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod observe;
pub mod published_view;
pub mod server;
pub mod settings;
pub mod tasks;
