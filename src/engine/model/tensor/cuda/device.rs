//! The device: memory, launches and matrix products; and the kernels, compiled for one model's shape.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result as blas, sys as blas_sys};
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute, CUresult};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg, result,
};
use candle_core::cuda_backend::cudarc::nvrtc::{self, CompileOptions};
use candle_core::{Device, Storage, Tensor};

use crate::error::EngineError;

/// Sources of the kernels, in dependency order.
const SOURCES: [&str; 2] = [include_str!("kernels.cu"), include_str!("sampling.cu")];

/// Scratch memory of cuBLAS: NVIDIA's recommendation for Hopper. Allocated here, because recorded steps must not
/// allocate.
const BLAS_SCRATCH_BYTES: usize = 32 << 20;

/// Shared memory of the sampling kernel: two histograms of 3 * 2048 numbers.
pub const PICK_SHARED_BYTES: usize = 2 * 3 * 2048 * size_of::<u32>();

/// An allocation in device memory.
pub struct Buffer {
    slice: CudaSlice<u8>,
    pointer: u64,
}

impl Buffer {
    /// Returns the size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slice.len()
    }

    /// Returns the address on the device.
    #[must_use]
    pub fn pointer(&self) -> u64 {
        self.pointer
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// An address on the device; 0 means none.
    Pointer(u64),
    /// A number.
    Int(i32),
    /// A number.
    Float(f32),
}

/// The threads of a kernel launch.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// Blocks per grid dimension.
    pub grid: [usize; 3],
    /// Threads per block.
    pub threads: usize,
    /// Dynamic shared memory per block.
    pub shared_bytes: usize,
}

/// A matrix product `out = x * matrix^T`.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// `[rows, inputs]` bf16.
    pub x: u64,
    /// `[outputs, inputs]` bf16.
    pub matrix: u64,
    /// `[rows, outputs]`.
    pub out: u64,
    /// Rows of x.
    pub rows: usize,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Numbers in a row of x.
    pub inputs: usize,
    /// Number type of `out`.
    pub out_type: OutType,
}

/// The number type of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutType {
    /// 2 bytes.
    Bf16,
    /// 4 bytes.
    F32,
}

/// One GPU with one stream, on which all work runs in order.
pub struct Gpu {
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    /// Owns cuBLAS' scratch memory.
    _scratch: Buffer,
    processors: usize,
}

impl Gpu {
    /// Wraps candle's device.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the device's memory is already full.
    pub fn new(device: &Device) -> Result<Self, EngineError> {
        let cuda = device.as_cuda_device()?;
        // SAFETY: all work on this device's memory is issued on its one stream, in order, so no event is needed to
        // order one use of a buffer after another, or its release after its uses.
        unsafe { cuda.disable_event_tracking() };
        let (stream, blas) = (cuda.cuda_stream(), cuda.cublas_handle());
        let scratch = zeros(&stream, BLAS_SCRATCH_BYTES)?;
        // SAFETY: the handle is alive, and the memory lives as long as `Self`, which alone uses the handle from now on.
        let status = unsafe {
            blas_sys::cublasSetWorkspace_v2(*blas.handle(), scratch.pointer as *mut c_void, BLAS_SCRATCH_BYTES)
        };
        status.result().map_err(candle_core::Error::wrap)?;
        let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = stream.context().attribute(attribute).map_err(driver_error)?;
        Ok(Self { stream, blas, _scratch: scratch, processors: usize::try_from(processors).unwrap_or(1) })
    }

    /// Returns the number of attention blocks that keep the device busy: four per multiprocessor.
    #[must_use]
    pub fn attention_blocks(&self) -> usize {
        4 * self.processors
    }

    /// Returns the stream of the device.
    #[must_use]
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Checks that a model fits before anything is copied.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] with the required and the free memory.
    pub fn check_memory(&self, weights: usize, kv: usize, work: usize) -> Result<(), EngineError> {
        let (free, _) = self.stream.context().mem_get_info().map_err(driver_error)?;
        let needed = weights + kv + work;
        if needed <= free {
            return Ok(());
        }
        let mib = |bytes: usize| bytes >> 20;
        let detail = format!(
            "{} MiB are needed (weights {}, keys and values {}, work {}), {} MiB are free",
            mib(needed),
            mib(weights),
            mib(kv),
            mib(work),
            mib(free)
        );
        Err(EngineError::DeviceMemory { detail })
    }

    /// Allocates memory filled with zeros.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the device's memory is too small.
    pub fn zeros(&self, bytes: usize) -> Result<Buffer, EngineError> {
        zeros(&self.stream, bytes)
    }

    /// Allocates memory for numbers and copies the numbers to the device.
    pub fn upload<T: Copy>(&self, numbers: &[T]) -> Result<Buffer, EngineError> {
        let buffer = self.zeros(size_of_val(numbers))?;
        self.copy_up(numbers, &buffer)?;
        Ok(buffer)
    }

    /// Copies numbers to the start of a buffer.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if the device fails, or if the buffer is too small.
    pub fn copy_up<T: Copy>(&self, numbers: &[T], buffer: &Buffer) -> Result<(), EngineError> {
        check_room(size_of_val(numbers), buffer)?;
        self.stream.context().bind_to_thread().map_err(driver_error)?;
        // SAFETY: the buffer has room, as checked above. The host memory is pageable: the driver has copied it when the
        // call returns.
        unsafe { result::memcpy_htod_async(buffer.pointer, numbers, self.stream.cu_stream()) }.map_err(driver_error)
    }

    /// Copies the start of a buffer to the host, after all work issued so far.
    pub fn download<T: Copy>(&self, buffer: &Buffer, numbers: &mut [T]) -> Result<(), EngineError> {
        check_room(size_of_val(numbers), buffer)?;
        self.stream.context().bind_to_thread().map_err(driver_error)?;
        // SAFETY: the buffer holds that many bytes, as checked above, and `numbers` stays borrowed until the wait for
        // the stream ends.
        unsafe { result::memcpy_dtoh_async(numbers, buffer.pointer, self.stream.cu_stream()) }.map_err(driver_error)?;
        self.wait()
    }

    /// Waits until all work issued so far is done.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if any of the work failed.
    pub fn wait(&self) -> Result<(), EngineError> {
        self.stream.synchronize().map_err(driver_error)
    }

    /// Returns the address of a contiguous bf16 or f32 tensor on this device.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] for any other tensor.
    pub fn pointer(&self, tensor: &Tensor) -> Result<u64, EngineError> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            return Err(candle_core::Error::msg("a parameter is not on the CUDA device").into());
        };
        let start = match &storage.slice {
            CudaStorageSlice::BF16(slice) => slice.device_ptr(&self.stream).0,
            CudaStorageSlice::F32(slice) => slice.device_ptr(&self.stream).0,
            _ => return Err(candle_core::Error::msg("a parameter is neither bf16 nor f32").into()),
        };
        Ok(start + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
    }

    /// Launches a kernel. The arguments must match the kernel's source, and their memory must be large enough for the
    /// grid.
    pub fn launch(&self, kernel: &CudaFunction, launch: Launch, args: &[Arg]) -> Result<(), EngineError> {
        let mut builder = self.stream.launch_builder(kernel);
        for arg in args {
            match arg {
                Arg::Pointer(pointer) => builder.arg(pointer),
                Arg::Int(number) => builder.arg(number),
                Arg::Float(number) => builder.arg(number),
            };
        }
        let [x, y, z] = launch.grid.map(|size| size as u32);
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (launch.threads as u32, 1, 1),
            shared_mem_bytes: launch.shared_bytes as u32,
        };
        // SAFETY: the callers, all in `steps`, pass arguments that meet the requirements in the kernels' comments.
        unsafe { builder.launch(config) }.map_err(driver_error)?;
        Ok(())
    }

    /// Launches a matrix product with sums in f32.
    pub fn multiply(&self, product: Product) -> Result<(), EngineError> {
        let Product { x, matrix, out, rows, outputs, inputs, out_type } = product;
        let out_type = match out_type {
            OutType::Bf16 => blas_sys::cudaDataType::CUDA_R_16BF,
            OutType::F32 => blas_sys::cudaDataType::CUDA_R_32F,
        };
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (rows, outputs, inputs) = (rows as i32, outputs as i32, inputs as i32);
        // SAFETY: the callers, all in `steps`, pass memory of these shapes. cuBLAS is column-major: a row-major
        // [outputs, inputs] matrix is [inputs, outputs] there, and so on.
        let status = unsafe {
            blas::gemm_ex(
                *self.blas.handle(),
                blas_sys::cublasOperation_t::CUBLAS_OP_T,
                blas_sys::cublasOperation_t::CUBLAS_OP_N,
                outputs,
                rows,
                inputs,
                (&raw const one).cast(),
                matrix as *const c_void,
                blas_sys::cudaDataType::CUDA_R_16BF,
                inputs,
                x as *const c_void,
                blas_sys::cudaDataType::CUDA_R_16BF,
                inputs,
                (&raw const zero).cast(),
                out as *mut c_void,
                out_type,
                outputs,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        Ok(status.map_err(candle_core::Error::wrap)?)
    }
}

/// The kernels of one model.
pub struct Kernels {
    /// See the kernel of this name in the source, as for all fields below.
    pub embed: CudaFunction,
    /// Residual addition and norm.
    pub add_norm: CudaFunction,
    /// Bias, head norms, rotation, and storing keys and values.
    pub rotate_store: CudaFunction,
    /// Attention.
    pub attend: CudaFunction,
    /// Combines the parts of attention.
    pub combine: CudaFunction,
    /// Activation.
    pub silu_mul: CudaFunction,
    /// Masks the rows of the output matrix that are never picked.
    pub mask: CudaFunction,
    /// Sampling.
    pub pick: CudaFunction,
}

impl Kernels {
    /// Compiles the kernels with the preprocessor definitions `defines`.
    ///
    /// # Errors
    /// [`EngineError::NoDevice`] with the compiler's message.
    pub fn compile(gpu: &Gpu, defines: &[(&'static str, usize)]) -> Result<Self, EngineError> {
        let context = gpu.stream.context();
        let (major, minor) = context.compute_capability().map_err(driver_error)?;
        let mut options = vec![format!("--gpu-architecture=compute_{major}{minor}"), "--std=c++17".to_owned()];
        options.extend(defines.iter().map(|(name, number)| format!("-D{name}={number}")));
        let options = CompileOptions { options, name: Some("kernels.cu".to_owned()), ..CompileOptions::default() };
        let code = nvrtc::compile_ptx_with_opts(SOURCES.concat(), options)
            .map_err(|error| EngineError::NoDevice { detail: format!("the kernels cannot be compiled: {error}") })?;
        let module = context.load_module(code).map_err(driver_error)?;
        let load = |name: &str| module.load_function(name).map_err(driver_error);
        let pick = load("pick")?;
        let shared = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        pick.set_attribute(shared, PICK_SHARED_BYTES as i32).map_err(driver_error)?;
        Ok(Self {
            embed: load("embed")?,
            add_norm: load("add_norm")?,
            rotate_store: load("rotate_store")?,
            attend: load("attend")?,
            combine: load("combine")?,
            silu_mul: load("silu_mul")?,
            mask: load("mask")?,
            pick,
        })
    }
}

fn zeros(stream: &Arc<CudaStream>, bytes: usize) -> Result<Buffer, EngineError> {
    let slice = stream.alloc_zeros::<u8>(bytes.max(1)).map_err(|error| match error {
        DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
            EngineError::DeviceMemory { detail: format!("{} MiB more are needed than are free", bytes >> 20) }
        }
        error => driver_error(error),
    })?;
    let pointer = slice.device_ptr(stream).0;
    Ok(Buffer { slice, pointer })
}

fn check_room(bytes: usize, buffer: &Buffer) -> Result<(), EngineError> {
    if bytes <= buffer.bytes() {
        return Ok(());
    }
    let room = buffer.bytes();
    Err(candle_core::Error::msg(format!("a copy of {bytes} bytes does not fit a buffer of {room}")).into())
}

/// Converts a driver's error to the engine's error.
pub fn driver_error(error: DriverError) -> EngineError {
    EngineError::Tensor(candle_core::Error::wrap(error))
}
