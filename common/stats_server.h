/* The monitoring endpoint of a process (libmicrohttpd): GET /metrics, /stats, /healthz, /readyz.
 * Serves from a thread of its own; the handlers are called on it. */
#ifndef ANTHILL_COMMON_STATS_SERVER_H
#define ANTHILL_COMMON_STATS_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct stats_server;

struct stats_handlers {
    /* Extra members for /stats, e.g. `"epoch":3,"workers":2`; returns owned, or NULL. May be NULL.
     */
    char *(*stats_json)(void *context);
    bool (*healthy)(void *context); /* the main loop ticks; NULL: always */
    bool (*ready)(void *context);   /* NULL: always */
    void *context;
};

/* Listens on `address` ("127.0.0.1" unless told otherwise) and `port` (0: the system chooses).
 *   errors   STATUS_UNAVAILABLE when the port is in use, named in the text
 *   owner    stats_server_stop */
enum status stats_server_start(struct stats_server **server, const char *address, uint16_t port,
                               const struct stats_handlers *handlers,
                               struct error *error) MUST_CHECK;
uint16_t stats_server_port(const struct stats_server *server);
void stats_server_stop(struct stats_server *server);

#endif
