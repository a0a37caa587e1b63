//! Where httpd enters: the module record, its hooks, filters and directives.
//!
//! Every function here that works on a request or a directive catches panics: aborting, as Rust does where a panic meets
//! C, would take the other requests of the child along.

use std::any::Any;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use apxs_sys as sys;

use super::filter::{Brigade, FilterCall, FilterKind, Status};
use super::log::{Level, c_string, log_server};
use super::request::Request;
use super::{pool, status, user};
use crate::config::{DIRECTIVES, Directive, DirectoryConfig, Inherit, ServerConfig, Set};
use crate::{dead_socket, filters, scoreboard};

/// The module record, which `LoadModule socket_handoff_module` looks up by this name.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, unreachable_pub)]
pub static mut socket_handoff_module: sys::module = sys::module {
    version: sys::MODULE_MAGIC_NUMBER_MAJOR as i32,
    minor_version: sys::MODULE_MAGIC_NUMBER_MINOR as i32,
    module_index: -1,
    name: c"mod_socket_handoff.c".as_ptr(),
    dynamic_load_handle: null_mut(),
    next: null_mut(),
    magic: sys::MODULE_MAGIC_COOKIE as std::ffi::c_ulong,
    rewrite_args: None,
    create_dir_config: Some(create_config::<DirectoryConfig, c_char>),
    merge_dir_config: Some(merge_config::<DirectoryConfig>),
    create_server_config: Some(create_config::<ServerConfig, sys::server_rec>),
    merge_server_config: Some(merge_config::<ServerConfig>),
    cmds: (&raw const COMMANDS).cast(),
    register_hooks: Some(register_hooks),
    flags: 0,
};

/// The number under which httpd knows this module.
pub(super) fn module_index() -> i32 {
    // SAFETY: httpd writes the index once, before it calls any function of the module.
    unsafe { (&raw const socket_handoff_module.module_index).read() }
}

/// This module's slot in a configuration vector; NULL if it is empty.
///
/// # Safety
/// `vector` is a valid configuration vector in whose slot only pointers to `T` are put.
pub(super) unsafe fn module_config<T>(vector: *const sys::ap_conf_vector_t) -> *const T {
    // SAFETY: the caller vouches for the vector; the module record is httpd's key to it.
    unsafe { sys::ap_get_module_config(vector, &raw const socket_handoff_module).cast() }
}

/// Fills this module's slot in a configuration vector.
///
/// # Safety
/// As for [`module_config`]; `value` lives as long as the vector.
pub(super) unsafe fn set_module_config<T>(vector: *mut sys::ap_conf_vector_t, value: *mut T) {
    // SAFETY: as above.
    unsafe { sys::ap_set_module_config(vector, &raw const socket_handoff_module, value.cast()) };
}

// --- Hooks -----------------------------------------------------------------------------------------------------------

/// Called once each time the configuration is read, in the parent process.
unsafe extern "C" fn register_hooks(_pool: *mut sys::apr_pool_t) {
    // SAFETY: httpd expects these calls here; names and functions live as long as the module is loaded.
    unsafe {
        for (handle, name, filter, kind) in [
            (&COLLECTOR, c"SOCKET_HANDOFF_COLLECT", collector as OutputFilter, BEFORE_CONTENT_FILTERS),
            (&TAKER, c"SOCKET_HANDOFF_TAKE", taker, LAST_OF_CONTENT_FILTERS),
            (&STRIPPER, c"SOCKET_HANDOFF_STRIP", stripper, LAST_OF_CONTENT_FILTERS),
            (&SINK, c"SOCKET_HANDOFF_SINK", sink, AFTER_CONTENT_FILTERS),
        ] {
            let registered = sys::ap_register_output_filter(name.as_ptr(), Some(filter), None, kind);
            handle.store(registered, Ordering::Relaxed);
        }
        let middle = sys::APR_HOOK_MIDDLE as i32;
        // mod_headers inserts its filter for error responses at LAST, and the stripper has to come after that.
        let last = sys::APR_HOOK_REALLY_LAST as i32;
        status::register_hooks();
        sys::ap_hook_child_init(Some(child_init), null(), null(), middle);
        sys::ap_hook_insert_filter(Some(insert_filters), null(), null(), last);
        sys::ap_hook_insert_error_filter(Some(insert_error_filters), null(), null(), last);
    }
}

/// Called in each child process before it serves requests.
unsafe extern "C" fn child_init(_pool: *mut sys::apr_pool_t, server: *mut sys::server_rec) {
    scoreboard::enter(std::process::id().into());
    if let Err(errno) = dead_socket::open() {
        // SAFETY: httpd passes a valid server. Handoffs will be refused with 500.
        unsafe { log_server(server, &format!("no handoffs in this child: its dead socket failed: {errno}")) };
    }
}

/// Called for each request, subrequest and internal redirect before its handler runs.
unsafe extern "C" fn insert_filters(request: *mut sys::request_rec) {
    // SAFETY: httpd passes the request that this thread serves.
    guard_hook(unsafe { Request::new(request) }, filters::insert_filters);
}

/// Called when an error response is about to be sent past the request's filters.
unsafe extern "C" fn insert_error_filters(request: *mut sys::request_rec) {
    // SAFETY: httpd passes the request that this thread serves.
    guard_hook(unsafe { Request::new(request) }, filters::insert_error_filters);
}

fn guard_hook(request: Option<Request<'_>>, hook: fn(Request<'_>)) {
    let Some(request) = request else { return };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(request))) {
        log_panic(request, panic);
    }
}

// --- Filters ---------------------------------------------------------------------------------------------------------

type OutputFilter =
    unsafe extern "C" fn(*mut sys::ap_filter_t, *mut sys::apr_bucket_brigade) -> sys::apr_status_t;

/// Just before DEFLATE, mod_headers (both CONTENT_SET) and mod_cache (after it).
const BEFORE_CONTENT_FILTERS: sys::ap_filter_type = sys::ap_filter_type_AP_FTYPE_CONTENT_SET - 1;
/// With DEFLATE and mod_headers. A filter is put after those of its type that are there already. The collector adds the
/// taker, and the last hook the stripper, when they all are: so these two come after them and before mod_cache, which
/// must not store handoff headers.
const LAST_OF_CONTENT_FILTERS: sys::ap_filter_type = sys::ap_filter_type_AP_FTYPE_CONTENT_SET;
/// Just before the response head is written.
pub(super) const AFTER_CONTENT_FILTERS: sys::ap_filter_type = sys::ap_filter_type_AP_FTYPE_PROTOCOL - 1;

static COLLECTOR: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(null_mut());
static TAKER: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(null_mut());
static STRIPPER: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(null_mut());
static SINK: AtomicPtr<sys::ap_filter_rec_t> = AtomicPtr::new(null_mut());

/// The handle that httpd gave the filter when it was registered.
pub(super) fn filter_handle(kind: FilterKind) -> *mut sys::ap_filter_rec_t {
    let handle = match kind {
        FilterKind::Collector => &COLLECTOR,
        FilterKind::Taker => &TAKER,
        FilterKind::Stripper => &STRIPPER,
        FilterKind::Sink => &SINK,
    };
    handle.load(Ordering::Relaxed)
}

unsafe extern "C" fn collector(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    // SAFETY: httpd passes the filter that it calls and a brigade.
    unsafe { guard_filter(filter, brigade, filters::collect) }
}

unsafe extern "C" fn taker(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    // SAFETY: as above.
    unsafe { guard_filter(filter, brigade, filters::take) }
}

unsafe extern "C" fn stripper(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    // SAFETY: as above.
    unsafe { guard_filter(filter, brigade, filters::strip) }
}

unsafe extern "C" fn sink(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
) -> sys::apr_status_t {
    // SAFETY: as above.
    unsafe { guard_filter(filter, brigade, |_, brigade| filters::swallow(brigade)) }
}

/// # Safety
/// `filter` and `brigade` are what httpd passed to an output filter.
unsafe fn guard_filter(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
    run: fn(FilterCall<'_>, Brigade<'_>) -> Status,
) -> sys::apr_status_t {
    // SAFETY: the caller vouches for both.
    let (Some(call), Some(brigade)) = (unsafe { FilterCall::new(filter) }, unsafe { Brigade::new(brigade) })
    else {
        return sys::APR_EGENERAL as sys::apr_status_t;
    };
    let request = call.request();
    match catch_unwind(AssertUnwindSafe(|| run(call, brigade))) {
        Ok(status) => status.0,
        Err(panic) => {
            log_panic(request, panic);
            brigade.clear();
            // A real 500: an error status alone would give the client an empty reply.
            match catch_unwind(AssertUnwindSafe(|| filters::refuse_after_panic(request))) {
                Ok(()) => 0,
                Err(_) => sys::AP_FILTER_ERROR,
            }
        }
    }
}

fn log_panic(request: Request<'_>, panic: Box<dyn Any + Send>) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let _ = catch_unwind(AssertUnwindSafe(|| {
        request.log(
            Level::Error,
            format_args!("caught a panic, which is a bug in mod_socket_handoff: {message}"),
        );
    }));
    // What a panic carries could panic again when it is dropped.
    std::mem::forget(panic);
}

// --- Configuration ---------------------------------------------------------------------------------------------------

/// Called for each server (`C` is its server_rec) and each section (`C` is its directory's name).
unsafe extern "C" fn create_config<T: Inherit, C>(pool: *mut sys::apr_pool_t, _of: *mut C) -> *mut c_void {
    // SAFETY: httpd passes the configuration's pool.
    unsafe { pool::place(pool, T::default()).cast() }
}

/// Called for each virtual host when the configuration has been read, and for the sections that apply to a request.
unsafe extern "C" fn merge_config<T: Inherit>(
    pool: *mut sys::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    // SAFETY: both are what `create_config` or this function returned for this type of configuration.
    unsafe {
        let (outer, inner) = (&*outer.cast::<T>(), &*inner.cast::<T>());
        pool::place(pool, T::inherit(outer, inner)).cast()
    }
}

#[repr(transparent)]
struct Commands([sys::command_rec; DIRECTIVES.len() + 1]);

// SAFETY: the table is never written, and its pointers lead to statics.
unsafe impl Sync for Commands {}

/// httpd's form of [`DIRECTIVES`], ended by an entry without a name.
static COMMANDS: Commands = Commands({
    let end = sys::command_rec {
        name: null(),
        func: sys::cmd_func { take1: None },
        cmd_data: null_mut(),
        req_override: 0,
        args_how: sys::cmd_how_TAKE1,
        errmsg: null(),
    };
    let mut commands = [end; DIRECTIVES.len() + 1];
    let mut index = 0;
    while index < DIRECTIVES.len() {
        let directive = &DIRECTIVES[index];
        commands[index] = sys::command_rec {
            name: directive.name.as_ptr(),
            func: match directive.set {
                Set::ServerWords(_) => sys::cmd_func { take_argv: Some(set_directive_words) },
                Set::Server(_) | Set::Directory(_) => sys::cmd_func { take1: Some(set_directive) },
            },
            cmd_data: (&raw const *directive).cast_mut().cast(),
            req_override: match directive.set {
                Set::Server(_) | Set::ServerWords(_) => sys::RSRC_CONF,
                Set::Directory(_) => sys::RSRC_CONF | sys::ACCESS_CONF,
            } as i32,
            args_how: match directive.set {
                Set::ServerWords(_) => sys::cmd_how_TAKE_ARGV,
                Set::Server(_) | Set::Directory(_) => sys::cmd_how_TAKE1,
            },
            errmsg: directive.usage.as_ptr(),
        };
        index += 1;
    }
    commands
});

/// Called for each directive of ours that takes one word. Returns NULL, or the sentence that stops httpd.
unsafe extern "C" fn set_directive(
    parms: *mut sys::cmd_parms,
    directory_config: *mut c_void,
    word: *const c_char,
) -> *const c_char {
    // SAFETY: httpd passes what `apply` asks for, and the directive's one argument.
    unsafe { apply(parms, directory_config, &[word]) }
}

/// Called for each directive of ours that takes any number of words. As above.
unsafe extern "C" fn set_directive_words(
    parms: *mut sys::cmd_parms,
    directory_config: *mut c_void,
    count: c_int,
    words: *const *mut c_char,
) -> *const c_char {
    // SAFETY: httpd passes what `apply` asks for, and an array of so many arguments.
    unsafe {
        let count = usize::try_from(count).unwrap_or(0);
        let words =
            if count == 0 { &[] } else { std::slice::from_raw_parts(words.cast::<*const c_char>(), count) };
        apply(parms, directory_config, words)
    }
}

/// # Safety
/// `parms` has the entry of COMMANDS that httpd found and this server, `directory_config` is this section's
/// configuration, and `words` are C strings.
unsafe fn apply(
    parms: *mut sys::cmd_parms,
    directory_config: *mut c_void,
    words: &[*const c_char],
) -> *const c_char {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let directive = &*(*(*parms).cmd).cmd_data.cast::<Directive>();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let words: Result<Vec<_>, _> = words.iter().map(|word| CStr::from_ptr(*word).to_str()).collect();
            let words = words.map_err(|_| "must be written in UTF-8".to_owned())?;
            let server_config = || {
                let config = module_config::<ServerConfig>((*(*parms).server).module_config).cast_mut();
                NonNull::new(config).ok_or_else(|| "found no server to configure".to_owned())
            };
            let word = words.first().copied().unwrap_or_default();
            match directive.set {
                Set::Server(set) => set(server_config()?.as_mut(), word),
                Set::ServerWords(set) => set(server_config()?.as_mut(), &words, user::id),
                Set::Directory(set) => set(&mut *directory_config.cast::<DirectoryConfig>(), word),
            }
        }));
        let sentence = match outcome {
            Ok(Ok(())) => return null(),
            Ok(Err(problem)) => format!("{} {problem}", directive.name.to_string_lossy()),
            Err(_) => format!("{} could not be read, which is a bug", directive.name.to_string_lossy()),
        };
        let sentence = c_string(&sentence);
        sys::apr_pstrmemdup((*parms).pool, sentence.as_ptr(), sentence.as_bytes().len())
    }
}
