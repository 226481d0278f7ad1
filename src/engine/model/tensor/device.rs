//! Opens a device by its name, with errors that say what to do.

use candle_core::{DType, Device};

use super::super::DeviceChoice;
use crate::error::EngineError;

/// Opens a device.
///
/// # Errors
/// [`EngineError::NoDevice`] if this build does not support the device or the machine does not have it.
pub(super) fn open(choice: DeviceChoice) -> Result<Device, EngineError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        // A separate stream: the default stream of this thread differs from the default stream of the engine's thread.
        DeviceChoice::Cuda(_) if !candle_core::utils::cuda_is_available() => Err(not_built("cuda")),
        DeviceChoice::Cuda(index) => Device::new_cuda_with_stream(index)
            .map_err(|error| no_device(format!("CUDA device {index} cannot be opened: {}", first_line(&error)))),
        DeviceChoice::Metal if !candle_core::utils::metal_is_available() => Err(not_built("metal")),
        DeviceChoice::Metal => Device::new_metal(0)
            .map_err(|error| no_device(format!("the Metal device cannot be opened: {}", first_line(&error)))),
    }
}

/// Builds the error for a device that this build does not support.
pub(super) fn not_built(device: &str) -> EngineError {
    let how = if device == "cuda" { "make cuda" } else { "cargo build --release --features metal" };
    no_device(format!("this build has no support for device \"{device}\"; build with `{how}`"))
}

fn no_device(detail: String) -> EngineError {
    EngineError::NoDevice { detail }
}

/// Returns the type of matrices on a device.
pub(super) fn matrix_dtype(device: &Device) -> DType {
    if device.is_cpu() { DType::F32 } else { DType::BF16 }
}

/// candle appends a back trace to its messages if back traces are enabled; users need the first line only.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
