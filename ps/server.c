#include "ps/server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/checkpoint_writer.h"
#include "ps/shard_runner.h"

#define ENDPOINT_BYTES 512

struct server_thread {
    struct server *server;
    struct shard_runner_options options;
    char endpoint[ENDPOINT_BYTES];
    pthread_t thread;
    bool started;
    atomic_bool ready;
    enum status status; /* after it has ended */
    struct error error;
};

struct server {
    struct server_options options;
    struct server_thread *threads;
    struct checkpoint_writer *writer;
    atomic_bool stop;
    atomic_uint running;
};

/* The endpoint of shard `shard` from the one of the server. */
static enum status shard_endpoint(const char *endpoint, uint32_t shard, char result[ENDPOINT_BYTES],
                                  struct error *error)
{
    int written;
    const char *port = strrchr(endpoint, ':');
    if (strncmp(endpoint, "ipc://", 6) == 0) {
        written = snprintf(result, ENDPOINT_BYTES, "%s-shard-%u", endpoint, shard);
    } else if (port != NULL && atoi(port + 1) > 0) {
        written = snprintf(result, ENDPOINT_BYTES, "%.*s:%d", (int)(port - endpoint), endpoint,
                           atoi(port + 1) + (int)shard);
    } else {
        written = snprintf(result, ENDPOINT_BYTES, "%s", endpoint);
    }
    if (written < ENDPOINT_BYTES) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s: endpoint is too long", endpoint);
}

static void *thread_main(void *context)
{
    struct server_thread *thread = context;
    thread->status = shard_runner_run(&thread->options, &thread->error);
    atomic_store(&thread->ready, false);
    /* A shard that is lost takes its server along: it is started again as a whole. */
    if (thread->status != STATUS_OK) atomic_store(&thread->server->stop, true);
    atomic_fetch_sub(&thread->server->running, 1);
    return NULL;
}

enum status server_start(struct server **server, const struct server_options *options,
                         struct error *error)
{
    *server = NULL;
    struct server *started = calloc(1, sizeof *started);
    CHECK(started != NULL);
    started->options = *options;
    started->threads = calloc(options->shard_count, sizeof *started->threads);
    CHECK(started->threads != NULL);
    enum status status = checkpoint_writer_start(&started->writer, options->checkpoint_dir, error);
    for (uint32_t i = 0; status == STATUS_OK && i < options->shard_count; i++) {
        status = shard_endpoint(options->endpoint, i, started->threads[i].endpoint, error);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < options->shard_count; i++) {
        struct server_thread *thread = &started->threads[i];
        thread->server = started;
        thread->options = (struct shard_runner_options){
            .server = &started->options,
            .shard = i,
            .writer = started->writer,
            .endpoint = thread->endpoint,
            .stop = &started->stop,
            .ready = &thread->ready,
        };
        atomic_fetch_add(&started->running, 1);
        int failed = pthread_create(&thread->thread, NULL, thread_main, thread);
        thread->started = failed == 0;
        if (thread->started) continue;
        atomic_fetch_sub(&started->running, 1);
        status = error_set_errno(error, STATUS_NOMEM, failed, "thread of shard %u", i);
    }
    if (status != STATUS_OK) {
        server_stop(started);
        (void)!server_join(started, NULL);
        return status;
    }
    *server = started;
    return STATUS_OK;
}

bool server_ready(const struct server *server)
{
    for (uint32_t i = 0; i < server->options.shard_count; i++) {
        if (!atomic_load(&server->threads[i].ready)) return false;
    }
    return true;
}

bool server_running(const struct server *server)
{
    return atomic_load(&server->running) > 0;
}

void server_stop(struct server *server)
{
    atomic_store(&server->stop, true);
}

enum status server_join(struct server *server, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < server->options.shard_count; i++) {
        struct server_thread *thread = &server->threads[i];
        if (!thread->started) continue;
        pthread_join(thread->thread, NULL);
        if (status != STATUS_OK || thread->status == STATUS_OK) continue;
        status = thread->status;
        if (error != NULL) *error = thread->error;
    }
    checkpoint_writer_stop(server->writer);
    free(server->threads);
    free(server);
    return status;
}
