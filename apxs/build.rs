//! Generates the bindings from the headers of the httpd that `apxs` (or `$APXS`) belongs to.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Command, exit};

/// What the module calls and reads. Types that these mention come along by themselves.
const FUNCTIONS: &str = "ap_(add_output_filter_handle|remove_output_filter|get_brigade|pass_brigade|\
    register_output_filter|\
    hook_(post_config|child_init|child_status|insert_filter|insert_error_filter)|\
    die|log_r?error_|get_request_module_loglevel|get_conn_socket|get_server_name|run_http_scheme|ssl_conn_is_ssl|\
    map_http_request_error|[gs]et_module_config|rwrite)|\
    apr_(table_(get|unset|setn|copy|elts|clear)|palloc|pstrmemdup|uid_get|os_sock_get|optional_hook_add|\
    pool_(cleanup_(register|null)|create_ex|destroy|userdata_[gs]et)|shm_(create|baseaddr_get)|\
    brigade_(create|cleanup|destroy|length)|bucket_(eos|flush)_create)|shim_.*";
const TYPES: &str = "module|command_rec|cmd_parms|request_rec|conn_rec|server_rec|ap_filter_t|ap_filter_rec_t|\
    apr_bucket_brigade|apr_bucket|apr_table_t|apr_table_entry_t|apr_pool_t|ap_conn_keepalive_e|ap_input_mode_t|\
    ap_filter_type|apr_read_type_e|mpm_child_status|core_net_rec|cmd_how";
const CONSTANTS: &str = "OK|DECLINED|ap_core_input_filter_handle|APLOG_.*|APR_HOOK_.*|AP_FILTER_ERROR|APR_EGENERAL|\
    AP_STATUS_(SHORT|NOTABLE)|HTTP_BAD_REQUEST|M_CONNECT|RSRC_CONF|ACCESS_CONF|MODULE_MAGIC_.*";

fn main() {
    println!("cargo::rerun-if-changed=shim.h");
    println!("cargo::rerun-if-env-changed=APXS");
    let apxs = Apxs::find();
    let include_args = apxs.include_args();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    let builder = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(&include_args)
        .allowlist_function(FUNCTIONS)
        .allowlist_type(TYPES)
        .allowlist_var(CONSTANTS)
        .blocklist_type("sockaddr.*|in_addr.*|in6_addr|_IO_FILE|FILE|iovec")
        .raw_line("use libc::{FILE, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un};")
        .raw_line("type _IO_FILE = FILE;")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .generate_cstr(true)
        .derive_default(false)
        .layout_tests(true)
        .wrap_static_fns(true)
        .wrap_static_fns_path(out.join("shim_wrappers"));

    // bindgen panics where libclang is missing; one sentence is worth more than its backtrace.
    std::panic::set_hook(Box::new(|_| ()));
    let bindings = match std::panic::catch_unwind(AssertUnwindSafe(|| builder.generate())) {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => fail(&format!(
            "the headers of httpd could not be read ({error}); install apache2-dev and libclang-dev \
             (Fedora: httpd-devel, apr-devel, clang-devel)"
        )),
        Err(_) => {
            fail("libclang was not found; install libclang-dev (Fedora: clang-devel) or set LIBCLANG_PATH")
        }
    };
    let _ = std::panic::take_hook();
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");

    let mut wrappers = cc::Build::new();
    wrappers.file(out.join("shim_wrappers.c")).include(".").warnings(false);
    for arg in &include_args {
        wrappers.flag(arg);
    }
    wrappers.compile("httpd_shim");
}

/// The `apxs` of the httpd to build for.
struct Apxs(String);

impl Apxs {
    /// `$APXS` if set, else the first of `apxs` and `apxs2` that runs.
    fn find() -> Self {
        let named = std::env::var("APXS").ok();
        let candidates = match &named {
            Some(apxs) => vec![apxs.as_str()],
            None => vec!["apxs", "apxs2"],
        };
        for candidate in &candidates {
            if query(candidate, "INCLUDEDIR").is_some() {
                return Self((*candidate).to_owned());
            }
        }
        fail(&format!(
            "{} does not run; install apache2-dev (Fedora: httpd-devel) or set APXS to your apxs",
            candidates.join(" or ")
        ))
    }

    fn query(&self, name: &str) -> Option<String> {
        query(&self.0, name)
    }

    /// The preprocessor flags that apxs itself would give to a C module.
    fn include_args(&self) -> Vec<String> {
        let mut args: Vec<String> = ["INCLUDEDIR", "APR_INCLUDEDIR", "APU_INCLUDEDIR"]
            .iter()
            .filter_map(|name| self.query(name))
            .map(|directory| format!("-I{directory}"))
            .collect();
        let apr_flags = self.query("APR_CONFIG").and_then(|apr_config| run(&apr_config, "--cppflags"));
        for flags in [self.query("EXTRA_CPPFLAGS"), apr_flags].into_iter().flatten() {
            args.extend(flags.split_whitespace().map(str::to_owned));
        }
        args.sort();
        args.dedup();
        args
    }
}

fn query(apxs: &str, name: &str) -> Option<String> {
    let output = Command::new(apxs).args(["-q", name]).output().ok()?;
    let value = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !value.is_empty()).then_some(value)
}

fn run(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn fail(sentence: &str) -> ! {
    eprintln!("apxs-sys: {sentence}");
    exit(1)
}
