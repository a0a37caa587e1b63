/* The smallest application there can be, twice: "bench-plain" answers with a short text, "bench-handoff" with the
 * headers of a handoff and no body. What a request costs beyond this handler is the server's and the module's part. */
#include "httpd.h"
#include "http_config.h"
#include "http_protocol.h"

module AP_MODULE_DECLARE_DATA bench_handler_module;

static const char TEXT[] = "A short answer, as long as a small page's first line.\n";
static const char DATA[] =
    "{\"user_id\":42,\"prompt\":\"Why is the sky blue?\",\"model\":\"gpt-4o-mini\",\"max_tokens\":500,\"request\":\"a1b2c3\"}";

static const char *socket_path;

static const char *set_socket_path(cmd_parms *cmd, void *dir, const char *path)
{
    socket_path = path;
    return NULL;
}

static int handle(request_rec *r)
{
    if (!strcmp(r->handler, "bench-plain")) {
        ap_set_content_type(r, "text/plain");
        ap_rwrite(TEXT, sizeof(TEXT) - 1, r);
        return OK;
    }
    if (!strcmp(r->handler, "bench-handoff")) {
        apr_table_setn(r->headers_out, "X-Socket-Handoff", socket_path);
        apr_table_setn(r->headers_out, "X-Handoff-Data", DATA);
        return OK;
    }
    return DECLINED;
}

static const command_rec directives[] = {
    AP_INIT_TAKE1("BenchHandoffSocket", set_socket_path, NULL, RSRC_CONF, "the daemon's socket"),
    { NULL }
};

static void register_hooks(apr_pool_t *p)
{
    ap_hook_handler(handle, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(bench_handler) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, directives, register_hooks
};
