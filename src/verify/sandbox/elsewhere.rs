//! The sandbox on systems without its layers: runs nothing.

use super::{Incomplete, Job, Layer, LayerCheck, Ran, SandboxFault, SandboxOptions};

/// A sandbox that cannot be opened on this system.
#[derive(Debug)]
pub struct Sandbox {
    never: std::convert::Infallible,
}

impl Sandbox {
    /// Always fails.
    pub fn open(options: &SandboxOptions) -> Result<Self, Incomplete> {
        let missing = Self::survey(options).into_iter().filter_map(|check| Some((check.layer, check.state.err()?)));
        Err(Incomplete { missing: missing.collect() })
    }

    /// Returns the state of each layer.
    #[must_use]
    pub fn survey(_options: &SandboxOptions) -> Vec<LayerCheck> {
        let state = Err(format!("{} on {} has no sandbox", std::env::consts::OS, std::env::consts::ARCH));
        vec![LayerCheck { layer: Layer::System, state }]
    }

    /// Returns the omitted layers.
    #[must_use]
    pub fn left_out(&self) -> &[(Layer, String)] {
        match self.never {}
    }

    pub(crate) fn run(&self, _job: &Job<'_>) -> Result<Ran, SandboxFault> {
        match self.never {}
    }
}
