//! From a device's name to the device, with errors that say what to do.

use candle_core::{DType, Device};

use super::super::DeviceChoice;
use crate::error::EngineError;

/// Opens a device.
///
/// # Errors
/// [`EngineError::NoDevice`] if this build has no support for it or the machine has none.
pub fn open(choice: DeviceChoice) -> Result<Device, EngineError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        // A stream of its own: the default stream of a thread is another one on the engine's thread.
        DeviceChoice::Cuda(_) if !candle_core::utils::cuda_is_available() => Err(not_built("cuda")),
        DeviceChoice::Cuda(index) => Device::new_cuda_with_stream(index)
            .map_err(|error| no_device(format!("no CUDA device {index} can be opened: {}", first_line(&error)))),
        DeviceChoice::Metal if !candle_core::utils::metal_is_available() => Err(not_built("metal")),
        DeviceChoice::Metal => Device::new_metal(0)
            .map_err(|error| no_device(format!("no Metal device can be opened: {}", first_line(&error)))),
    }
}

/// Builds the error for a device that this build knows nothing of.
pub fn not_built(device: &str) -> EngineError {
    let how = if device == "cuda" { "make cuda" } else { "cargo build --release --features metal" };
    no_device(format!("this build has no support for device \"{device}\"; build with `{how}`"))
}

fn no_device(detail: String) -> EngineError {
    EngineError::NoDevice { detail }
}

/// Returns the type of matrices on a device.
pub fn matrix_dtype(device: &Device) -> DType {
    if device.is_cpu() { DType::F32 } else { DType::BF16 }
}

/// candle appends a back trace to its messages when one is enabled; people need the first line only.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
