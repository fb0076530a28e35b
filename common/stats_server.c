/* libmicrohttpd's own thread answers; nothing here touches the program but the handlers and the
 * metrics, which any thread may read. */
#include "common/stats_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/metrics.h"
#include "common/text.h"

#define CONNECTIONS_MAX 64
#define TIMEOUT_S       10

#define TYPE_PLAIN "text/plain; charset=utf-8"
#define TYPE_PROM  "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_JSON  "application/json"

struct stats_server {
    struct MHD_Daemon *daemon;
    struct stats_handlers handlers;
    uint16_t port;
};

/* Takes `body` (malloc'd). */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code, const char *type,
                             char *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result reply_text(struct MHD_Connection *connection, unsigned code,
                                  const char *body)
{
    char *copy = strdup(body);
    return copy != NULL ? reply(connection, code, TYPE_PLAIN, copy) : MHD_NO;
}

static enum MHD_Result reply_stats(struct stats_server *server, struct MHD_Connection *connection)
{
    struct text text = {0};
    text_add(&text, "{\"program\":");
    text_add_json_string(&text, program_invocation_short_name);
    text_add(&text, ",\"version\":");
    text_add_json_string(&text, ANTHILL_VERSION);
    char *metrics = metrics_render_json();
    text_add(&text, ",\"metrics\":%s", metrics);
    free(metrics);
    char *extra = NULL;
    if (server->handlers.stats_json != NULL) {
        extra = server->handlers.stats_json(server->handlers.context);
    }
    if (extra != NULL && extra[0] != '\0') text_add(&text, ",%s", extra);
    free(extra);
    text_add(&text, "}\n");
    return reply(connection, MHD_HTTP_OK, TYPE_JSON, text_take(&text));
}

static enum MHD_Result reply_state(struct stats_server *server, struct MHD_Connection *connection,
                                   bool (*state)(void *context))
{
    bool good = state == NULL || state(server->handlers.context);
    return good ? reply_text(connection, MHD_HTTP_OK, "ok\n")
                : reply_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "not yet\n");
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload_data,
                              size_t *upload_data_size, void **request_context)
{
    struct stats_server *server = context;
    (void)version;
    (void)upload_data;
    (void)request_context;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        *upload_data_size = 0;
        return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    if (strcmp(url, "/metrics") == 0) {
        return reply(connection, MHD_HTTP_OK, TYPE_PROM, metrics_render_text());
    }
    if (strcmp(url, "/stats") == 0) return reply_stats(server, connection);
    if (strcmp(url, "/healthz") == 0) {
        return reply_state(server, connection, server->handlers.healthy);
    }
    if (strcmp(url, "/readyz") == 0) {
        return reply_state(server, connection, server->handlers.ready);
    }
    return reply_text(connection, MHD_HTTP_NOT_FOUND,
                      "not found; there are /metrics /stats /healthz /readyz\n");
}

/* A socket that listens; its port in *port. */
static enum status listen_on(const char *address, uint16_t *port, int *result, struct error *error)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(*port)};
    if (inet_pton(AF_INET, address, &where.sin_addr) != 1) {
        return error_set(error, STATUS_USAGE, "\"%s\" is no IPv4 address for the stats endpoint",
                         address);
    }
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return error_set_errno(error, STATUS_IO, errno, "stats endpoint");
    int on = 1;
    socklen_t bytes = sizeof where;
    int failed = 0;
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(descriptor, (struct sockaddr *)&where, sizeof where) != 0 ||
        listen(descriptor, CONNECTIONS_MAX) != 0 ||
        getsockname(descriptor, (struct sockaddr *)&where, &bytes) != 0) {
        failed = errno;
    }
    if (failed != 0) {
        close(descriptor);
        enum status status = failed == EADDRINUSE ? STATUS_UNAVAILABLE
                             : failed == EACCES   ? STATUS_DENIED
                                                  : STATUS_IO;
        return error_set_errno(error, status, failed, "stats endpoint http://%s:%u", address,
                               (unsigned)*port);
    }
    *port = ntohs(where.sin_port);
    *result = descriptor;
    return STATUS_OK;
}

enum status stats_server_start(struct stats_server **server, const char *address, uint16_t port,
                               const struct stats_handlers *handlers, struct error *error)
{
    *server = NULL;
    struct stats_server *started = calloc(1, sizeof *started);
    if (started == NULL) return error_set(error, STATUS_NOMEM, "no memory for the stats endpoint");
    if (handlers != NULL) started->handlers = *handlers;
    int descriptor = -1;
    enum status status = listen_on(address, &port, &descriptor, error);
    if (status != STATUS_OK) {
        free(started);
        return status;
    }
    started->port = port;
    started->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, started, MHD_OPTION_LISTEN_SOCKET,
        descriptor, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S, MHD_OPTION_END);
    if (started->daemon == NULL) {
        close(descriptor);
        free(started);
        return error_set(error, STATUS_IO, "stats endpoint http://%s:%u does not start", address,
                         (unsigned)port);
    }
    *server = started;
    return STATUS_OK;
}

uint16_t stats_server_port(const struct stats_server *server)
{
    return server->port;
}

void stats_server_stop(struct stats_server *server)
{
    if (server == NULL) return;
    MHD_stop_daemon(server->daemon); /* closes the socket */
    free(server);
}
