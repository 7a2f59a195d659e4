//! The C interface of `libchdb.so`, loaded at run time. The only unsafe code of the crate.
//!
//! Properties of the library, from its sources and experiments with version 26.5: a connection serializes
//! its calls with a mutex; the connections of a process share one engine and one data directory; a result
//! owns its memory until it is destroyed; a query may run on any thread.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use libloading::os::unix::{Library as SharedObject, RTLD_LOCAL, RTLD_NOW};

/// `chdb_connect` returns a pointer to the handle that queries take.
type ConnectionPointer = *mut *mut c_void;
type ResultPointer = *mut c_void;

type ConnectFn = unsafe extern "C" fn(c_int, *mut *mut c_char) -> ConnectionPointer;
type CloseFn = unsafe extern "C" fn(ConnectionPointer);
type QueryFn = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> ResultPointer;
type DestroyFn = unsafe extern "C" fn(ResultPointer);
type BufferFn = unsafe extern "C" fn(ResultPointer) -> *mut c_char;
type LengthFn = unsafe extern "C" fn(ResultPointer) -> usize;
type ErrorFn = unsafe extern "C" fn(ResultPointer) -> *const c_char;
type CountFn = unsafe extern "C" fn(ResultPointer) -> u64;
type SecondsFn = unsafe extern "C" fn(ResultPointer) -> f64;
type SignalsFn = unsafe extern "C" fn(bool);

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot load {path}: {source}")]
    Open { path: String, source: libloading::Error },
    #[error("{path} lacks the function {name}: expected libchdb 26.5 or later: {source}")]
    Symbol { path: String, name: &'static str, source: libloading::Error },
}

/// The loaded library. It is never unloaded, because its background threads run until the process ends.
pub struct Library {
    connect: ConnectFn,
    close: CloseFn,
    query: QueryFn,
    destroy: DestroyFn,
    buffer: BufferFn,
    length: LengthFn,
    error: ErrorFn,
    result_rows: CountFn,
    result_bytes: CountFn,
    read_rows: CountFn,
    read_bytes: CountFn,
    written_rows: CountFn,
    written_bytes: CountFn,
    elapsed: SecondsFn,
}

impl Library {
    /// Loads the library and resolves every function used, so that a wrong file fails here and not in a
    /// query.
    pub fn load(path: &Path) -> Result<Arc<Library>, LoadError> {
        let name = path.display().to_string();
        // SAFETY: loading runs the library's initialisers. The file is the engine the operator named; nothing
        // of ours depends on the state those initialisers change.
        let object = unsafe { SharedObject::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|source| LoadError::Open { path: name.clone(), source })?;
        let library = Library {
            connect: symbol(&object, &name, "chdb_connect")?,
            close: symbol(&object, &name, "chdb_close_conn")?,
            query: symbol(&object, &name, "chdb_query_with_params_n")?,
            destroy: symbol(&object, &name, "chdb_destroy_query_result")?,
            buffer: symbol(&object, &name, "chdb_result_buffer")?,
            length: symbol(&object, &name, "chdb_result_length")?,
            error: symbol(&object, &name, "chdb_result_error")?,
            result_rows: symbol(&object, &name, "chdb_result_rows_read")?,
            result_bytes: symbol(&object, &name, "chdb_result_bytes_read")?,
            read_rows: symbol(&object, &name, "chdb_result_storage_rows_read")?,
            read_bytes: symbol(&object, &name, "chdb_result_storage_bytes_read")?,
            written_rows: symbol(&object, &name, "chdb_result_rows_written")?,
            written_bytes: symbol(&object, &name, "chdb_result_bytes_written")?,
            elapsed: symbol(&object, &name, "chdb_result_elapsed")?,
        };
        let signals: SignalsFn = symbol(&object, &name, "chdb_set_signal_handlers_enabled")?;
        // SAFETY: takes a flag by value and only writes a global of the library, before any connection
        // exists.
        unsafe { signals(false) };
        // The engine's threads run until the process ends: its code must never be unmapped.
        std::mem::forget(object);
        Ok(Arc::new(library))
    }

    /// Opens a connection with the command line arguments of `clickhouse local` (`--path=...`). The first
    /// connection of the process starts the engine. `None`: the engine rejected and printed its reason to
    /// standard error.
    pub fn connect(self: &Arc<Self>, arguments: &[CString]) -> Option<RawConnection> {
        let mut argv: Vec<*mut c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        let argc = c_int::try_from(argv.len()).ok()?;
        argv.push(ptr::null_mut());
        // SAFETY: argv holds argc valid NUL-terminated strings that outlive the call and a final null; the
        // library copies what it keeps and writes to none of them.
        let pointer = unsafe { (self.connect)(argc, argv.as_mut_ptr()) };
        (!pointer.is_null()).then(|| RawConnection { library: Arc::clone(self), pointer })
    }
}

/// Resolves one function to its address.
fn symbol<T: Copy>(object: &SharedObject, path: &str, name: &'static str) -> Result<T, LoadError> {
    // SAFETY: every T used here is the function pointer type that the library's header declares for that
    // name, and the library is never unloaded, so that the copied address stays valid.
    let found = unsafe { object.get::<T>(name) };
    found.map(|s| *s).map_err(|source| LoadError::Symbol { path: path.to_owned(), name, source })
}

/// One connection to the engine, closed when dropped.
pub struct RawConnection {
    library: Arc<Library>,
    pointer: ConnectionPointer,
}

// SAFETY: the library guards each connection with a mutex and binds no state to the calling thread; ownership
// moves as a whole, and `query` takes `&mut self`, so that two threads never use one connection at a time.
unsafe impl Send for RawConnection {}

impl RawConnection {
    /// Runs one query. `format` applies where the text names none; `parameters` fill `{name:Type}`.
    pub fn query(&mut self, text: &[u8], format: &str, parameters: &[(String, String)]) -> RawResult {
        let names: Vec<*const c_char> = parameters.iter().map(|(n, _)| n.as_ptr().cast()).collect();
        let name_lengths: Vec<usize> = parameters.iter().map(|(n, _)| n.len()).collect();
        let values: Vec<*const c_char> = parameters.iter().map(|(_, v)| v.as_ptr().cast()).collect();
        let value_lengths: Vec<usize> = parameters.iter().map(|(_, v)| v.len()).collect();
        // SAFETY: `pointer` came from `chdb_connect` and is closed only by Drop, so it points to a live
        // handle; every buffer is passed with its length, outlives the call and is only read; the four arrays
        // have equal length.
        let pointer = unsafe {
            (self.library.query)(
                *self.pointer,
                text.as_ptr().cast(),
                text.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        RawResult { library: Arc::clone(&self.library), pointer }
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `chdb_connect` and this is the only place that closes it.
        unsafe { (self.library.close)(self.pointer) };
    }
}

/// Result of a query: an error, or bytes and counts. Freed when dropped.
pub struct RawResult {
    library: Arc<Library>,
    pointer: ResultPointer,
}

impl RawResult {
    /// The engine's error text, if the query failed.
    pub fn error(&self) -> Option<String> {
        if self.pointer.is_null() {
            return Some("the engine gave no result".to_owned());
        }
        // SAFETY: the pointer is a live result; the text is NUL-terminated and lives as long as the result.
        unsafe {
            let text = (self.library.error)(self.pointer);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }

    /// Result bytes that were not written to a file.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the pointer is a live result (the accessors also accept null); buffer and length describe
        // one allocation that the result owns and that nobody writes while `self` is borrowed.
        unsafe {
            let length = (self.library.length)(self.pointer);
            let buffer = (self.library.buffer)(self.pointer);
            if buffer.is_null() || length == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(buffer.cast(), length)
            }
        }
    }

    pub fn counts(&self) -> super::Counts {
        let count = |f: CountFn| {
            // SAFETY: a live result, or null, which every accessor accepts; reads a number.
            unsafe { f(self.pointer) }
        };
        let library = &self.library;
        super::Counts {
            read_rows: count(library.read_rows),
            read_bytes: count(library.read_bytes),
            written_rows: count(library.written_rows),
            written_bytes: count(library.written_bytes),
            result_rows: count(library.result_rows),
            result_bytes: count(library.result_bytes),
            // SAFETY: as above.
            elapsed: std::time::Duration::try_from_secs_f64(unsafe { (library.elapsed)(self.pointer) })
                .unwrap_or_default(),
        }
    }
}

impl Drop for RawResult {
    fn drop(&mut self) {
        // SAFETY: the result came from a query, is destroyed only here, and null is accepted.
        unsafe { (self.library.destroy)(self.pointer) };
    }
}
