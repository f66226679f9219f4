//! Networks for plugins: what the server offers them. The server knows files and devices; here a network is a name that was
//! granted or not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gesso_core::numbers::Numbers;

/// An answer under way.
pub type NetworkAnswer<T> = Pin<Box<dyn Future<Output = Result<T, NetworkError>> + Send>>;

/// Finds and runs networks by name, in any case.
pub trait Networks: Send + Sync {
    /// The names there are, sorted.
    fn list(&self) -> NetworkAnswer<Vec<String>>;

    /// What the exporter of one wrote into its file.
    fn about(&self, network: String) -> NetworkAnswer<Option<String>>;

    /// What one makes of its inputs. `cancelled` is looked at before it begins.
    fn run(
        &self,
        network: String,
        inputs: Vec<Numbers>,
        cancelled: Arc<AtomicBool>,
    ) -> NetworkAnswer<Vec<Numbers>>;
}

/// For hosts without a device: there is no network.
#[derive(Debug, Clone, Copy)]
pub struct NoNetworks;

impl Networks for NoNetworks {
    fn list(&self) -> NetworkAnswer<Vec<String>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn about(&self, network: String) -> NetworkAnswer<Option<String>> {
        Box::pin(std::future::ready(Err(none(&network))))
    }

    fn run(&self, network: String, _: Vec<Numbers>, _: Arc<AtomicBool>) -> NetworkAnswer<Vec<Numbers>> {
        Box::pin(std::future::ready(Err(none(&network))))
    }
}

fn none(network: &str) -> NetworkError {
    NetworkError::Invalid(format!("there is no network {network:?}"))
}

/// Why there is no answer, by what the plugin can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// There is no such network, or it does not take these inputs.
    #[error("{0}")]
    Invalid(String),
    #[error("the call was cancelled")]
    Cancelled,
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Failed(String),
}

/// The networks that one plugin may run.
#[derive(Clone)]
pub(crate) struct GrantedNetworks {
    /// Names, or `*` for any, or the beginning of names with `*` behind it.
    pub(crate) patterns: Arc<[String]>,
    pub(crate) source: Arc<dyn Networks>,
}

impl GrantedNetworks {
    pub(crate) fn covers(&self, network: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => {
                network.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
            }
            None => pattern.eq_ignore_ascii_case(network),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_names_networks_or_how_they_begin() {
        let covers = |patterns: &[&str], network: &str| {
            let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            GrantedNetworks { patterns, source: Arc::new(NoNetworks) }.covers(network)
        };
        assert!(covers(&["*"], "anything"));
        assert!(covers(&["face_*", "depth"], "Face_yolov8n") && covers(&["face_*", "depth"], "DEPTH"));
        assert!(!covers(&["face_*", "depth"], "hand_yolov8n") && !covers(&["depth"], "depth2"));
        assert!(!covers(&[], "depth") && !covers(&["é*"], "x"));
    }
}
