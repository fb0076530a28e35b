#include "tests/bench/bench_cluster.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/transport.h"
#include "ps/coordinator.h"
#include "ps/server.h"
#include "tests/support/process.h"

#define SLOTS      1024
#define TIMEOUT_NS (60 * NS_PER_S)
#define FOREVER_NS (86400 * NS_PER_S)
#define TURN_NS    (10 * NS_PER_MS)

struct bench_cluster {
    char folder[64];
    char endpoint[128];
    struct transport *transport; /* the coordinator thread's, once that has started */
    pthread_t thread;
    atomic_bool stop;
    struct server_options options;
    struct server *server;
};

/* Nothing is trained, so there are no effects to carry out: no checkpoints, no results. */
static void send_all(struct transport *transport, struct coordinator *coordinator,
                     struct outbox *outbox, struct effects *effects)
{
    effects_clear(effects);
    for (unsigned i = 0; i < outbox->count; i++) {
        const uint64_t peer = outbox->messages[i].peer;
        if (transport_send(transport, &outbox->messages[i]) == STATUS_UNAVAILABLE)
            coordinator_peer_gone(coordinator, peer);
    }
    outbox_clear(outbox);
}

static void *coordinator_main(void *context)
{
    struct bench_cluster *cluster = context;
    const struct coordinator_options options = {
        .name = "bench",
        .task = "node-classification",
        .epochs = 1,
        .batch = 1,
        .monitor = "accuracy",
        .expect_metric = "accuracy",
        .server_count = 1,
        .shards_per_server = 1,
        .slot_count = SLOTS,
        .worker_count = 1,
        .lease_ns = FOREVER_NS,
        .timeout_ns = FOREVER_NS,
        .checkpoint_keep = 1,
        .wall_offset_ns = clock_wall_ns() - clock_now_ns(),
    };
    struct coordinator *coordinator = coordinator_create(&options, clock_now_ns());
    struct outbox outbox = {0};
    struct effects effects = {0};
    struct message message;
    while (!atomic_load(&cluster->stop)) {
        transport_poll(&cluster->transport, 1, TURN_NS);
        while (transport_receive(cluster->transport, &message) == STATUS_OK) {
            coordinator_handle(coordinator, clock_now_ns(), &message, &outbox, &effects);
            wire_message_deinit(&message);
        }
        coordinator_tick(coordinator, clock_now_ns(), &outbox, &effects);
        send_all(cluster->transport, coordinator, &outbox, &effects);
    }
    outbox_deinit(&outbox);
    effects_deinit(&effects);
    coordinator_destroy(coordinator);
    transport_close(cluster->transport);
    return NULL;
}

enum status bench_cluster_start(struct bench_cluster **out, struct error *error)
{
    struct bench_cluster *cluster = calloc(1, sizeof *cluster);
    CHECK(cluster != NULL);
    enum status status = transport_listen(&cluster->transport, "tcp://127.0.0.1:*", error);
    if (status != STATUS_OK) {
        free(cluster);
        return status;
    }
    snprintf(cluster->endpoint, sizeof cluster->endpoint, "%s",
             transport_endpoint(cluster->transport));
    temporary_folder(cluster->folder);
    cluster->options = (struct server_options){.shard_count = 1,
                                               .endpoint = "tcp://127.0.0.1:*",
                                               .coordinator = cluster->endpoint,
                                               .checkpoint_dir = cluster->folder,
                                               .timeout_ns = TIMEOUT_NS};
    CHECK(pthread_create(&cluster->thread, NULL, coordinator_main, cluster) == 0);
    status = server_start(&cluster->server, &cluster->options, error);
    if (status != STATUS_OK) {
        bench_cluster_stop(cluster);
        return status;
    }
    *out = cluster;
    return STATUS_OK;
}

enum status bench_cluster_client(struct bench_cluster *cluster, struct client **client,
                                 struct error *error)
{
    const struct client_options options = {
        .coordinator = cluster->endpoint, .name = "bench", .timeout_ns = TIMEOUT_NS};
    return client_open(client, &options, error);
}

void bench_cluster_stop(struct bench_cluster *cluster)
{
    if (cluster == NULL) return;
    if (cluster->server != NULL) {
        struct error error = {.text = ""};
        server_stop(cluster->server);
        if (server_join(cluster->server, &error) != STATUS_OK)
            fprintf(stderr, "server: %s\n", error.text);
    }
    atomic_store(&cluster->stop, true);
    pthread_join(cluster->thread, NULL);
    remove_folder(cluster->folder);
    free(cluster);
}
