//! Raw bindings to Apache httpd and APR.
//!
//! Everything here is generated at build time (`build.rs`) from the headers that `apxs -q` names, so that struct
//! layouts are those of the httpd that is installed; bindgen's layout tests are compile-time assertions and stay on.
//! Functions named `shim_*` are the macros of `shim.h`. There is no logic here: safe types are in the module's
//! `httpd` room.

pub use bindings::*;

mod bindings {
    #![allow(
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unsafe_op_in_unsafe_fn,
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::undocumented_unsafe_blocks
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}
