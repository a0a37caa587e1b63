/* What the module needs of httpd and APR. Macros that C code would use directly become static inline functions
 * here, for which bindgen writes wrappers (build.rs: wrap_static_fns). No logic. */
#include "httpd.h"
#include "http_config.h"
#include "http_connection.h"
#include "http_core.h"
#include "http_log.h"
#include "http_protocol.h"
#include "http_request.h"
#include "http_ssl.h"
#include "ap_mmn.h"
#include "ap_mpm.h"
#include "mod_status.h"
#include "mpm_common.h"
#include "util_filter.h"
#include "apr_buckets.h"
#include "apr_network_io.h"
#include "apr_optional_hooks.h"
#include "apr_portable.h"
#include "apr_shm.h"
#include "apr_strings.h"
#include "apr_tables.h"
#include "apr_user.h"

static inline apr_bucket *shim_brigade_first(apr_bucket_brigade *bb) { return APR_BRIGADE_FIRST(bb); }
static inline apr_bucket *shim_brigade_sentinel(apr_bucket_brigade *bb) { return APR_BRIGADE_SENTINEL(bb); }
static inline void shim_brigade_insert_tail(apr_bucket_brigade *bb, apr_bucket *e) { APR_BRIGADE_INSERT_TAIL(bb, e); }
static inline apr_bucket *shim_bucket_next(apr_bucket *e) { return APR_BUCKET_NEXT(e); }
static inline int shim_bucket_is_eos(apr_bucket *e) { return APR_BUCKET_IS_EOS(e); }
static inline int shim_bucket_is_error(apr_bucket *e) { return AP_BUCKET_IS_ERROR(e); }
static inline int shim_bucket_is_metadata(apr_bucket *e) { return APR_BUCKET_IS_METADATA(e); }
static inline int shim_bucket_is_socket(apr_bucket *e) { return APR_BUCKET_IS_SOCKET(e); }
static inline void shim_bucket_delete(apr_bucket *e) { apr_bucket_delete(e); }
static inline apr_status_t shim_bucket_read(apr_bucket *e, const char **data, apr_size_t *length) {
    return apr_bucket_read(e, data, length, APR_BLOCK_READ);
}
static inline int shim_status_is_eagain(apr_status_t s) { return APR_STATUS_IS_EAGAIN(s); }
static inline int shim_status_is_timeup(apr_status_t s) { return APR_STATUS_IS_TIMEUP(s); }
static inline int shim_status_is_eof(apr_status_t s) { return APR_STATUS_IS_EOF(s); }
static inline int shim_data_in_output_filters(const conn_rec *c) { return c->data_in_output_filters != 0; }
static inline int shim_connection_aborted(const conn_rec *c) { return c->aborted != 0; }
static inline void shim_set_connection_aborted(conn_rec *c) { c->aborted = 1; }
static inline void shim_set_eos_sent(request_rec *r, int sent) { r->eos_sent = sent; }
