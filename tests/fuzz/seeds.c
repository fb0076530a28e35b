/* Writes valid inputs of the targets whose inputs are no text: fuzz_seeds CORPUS writes into
 * CORPUS/shard, replica, coordinator, client, ..., one folder for each. To be run when a format
 * has changed; tests/fuzz/run.sh --merge then keeps what is needed of them. */
#include <unistd.h>

#include "graph/graph_builder.h"
#include "ps/shared_block.h"
#include "tests/fuzz/state_seeds.h"
#include "tests/unit/ps/checkpoint_fixture.h"

static const char *corpus;

struct bytes {
    uint8_t data[1 << 16];
    size_t count;
};

static void put(struct bytes *bytes, const void *data, size_t count)
{
    assert_true(count <= sizeof bytes->data - bytes->count);
    if (count > 0) memcpy(bytes->data + bytes->count, data, count);
    bytes->count += count;
}

static void put_number(struct bytes *bytes, uint64_t number, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t byte = (uint8_t)(number >> (8 * i));
        put(bytes, &byte, 1);
    }
}

static void save(const char *target, const char *name, const struct bytes *bytes)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    fixture_ok(file_path(path, &error, "%s/%s", corpus, target), &error);
    fixture_ok(file_dir_create(path, &error), &error);
    fixture_ok(file_path(path, &error, "%s/%s/%s", corpus, target, name), &error);
    fixture_ok(file_write_atomic(path, bytes->data, bytes->count, &error), &error);
}

/* ---- messages ----------------------------------------------------------------------------------
 */

struct payload {
    const void *data;
    size_t bytes;
};

static uint8_t request_kind; /* bits that all events have */

/* An event as in messages.h. `payloads` end with one of no data. */
static void put_event(struct bytes *bytes, uint8_t kind, Anthill__Envelope *envelope,
                      const struct payload *payloads)
{
    uint8_t header[4096];
    unsigned count = 0;
    envelope->version = WIRE_VERSION;
    assert_true(anthill__envelope__get_packed_size(envelope) <= sizeof header);
    size_t header_bytes = anthill__envelope__pack(envelope, header);
    while (payloads != NULL && payloads[count].data != NULL)
        count++;
    put_number(bytes, kind | request_kind, 1);
    put_number(bytes, 0, 1);
    put_number(bytes, count, 1);
    put_number(bytes, header_bytes, 2);
    for (unsigned i = 0; i < count; i++)
        put_number(bytes, payloads[i].bytes, 2);
    put(bytes, header, header_bytes);
    for (unsigned i = 0; i < count; i++)
        put(bytes, payloads[i].data, payloads[i].bytes);
}

/* Declares the message `type` as `body` and an envelope with it. */
#define BODY(type, TYPE, field, CASE)                                                              \
    Anthill__##type body = ANTHILL__##TYPE##__INIT;                                                \
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;                                          \
    envelope.request = 9;                                                                          \
    envelope.session = 1;                                                                          \
    envelope.body_case = ANTHILL__ENVELOPE__BODY_##CASE;                                           \
    envelope.field = &body

/* Kinds of events: of shard_fuzz.c; of coordinator_fuzz.c, whose first worker is peer 8. */
enum { OPEN_SESSION = 0x40, MEMORY = 0x10, JOINED = 0x18 };
/* Of replica_fuzz.c: a request to the primary; its stream and index are those that are waited for.
 */
enum { REQUEST = 0x80, FITS = 0x40 };

static void put_pull(struct bytes *bytes, uint32_t table, const uint64_t *keys, uint32_t count)
{
    BODY(Pull, PULL, pull, PULL);
    body.table = table;
    body.key_count = count;
    put_event(bytes, OPEN_SESSION, &envelope,
              (struct payload[]){{keys, count * sizeof *keys}, {NULL, 0}});
}

static void put_push(struct bytes *bytes, uint32_t table, uint64_t sequence, const uint64_t *keys,
                     uint32_t count, size_t floats)
{
    static const float grads[16] = {1, -1, 0.5f, 2};
    BODY(Push, PUSH, push, PUSH);
    body.table = table;
    body.key_count = count;
    body.rate_scale = 1;
    envelope.sequence = sequence;
    put_event(bytes, OPEN_SESSION, &envelope,
              (struct payload[]){
                  {keys, count * sizeof *keys}, {grads, floats * sizeof *grads}, {NULL, 0}});
}

static void put_advance(struct bytes *bytes, uint8_t sender, uint64_t sequence, uint64_t clock)
{
    BODY(Advance, ADVANCE, advance, ADVANCE);
    body.clock = clock;
    envelope.sequence = sequence;
    put_event(bytes, OPEN_SESSION | sender, &envelope, NULL);
}

static void put_others(struct bytes *bytes)
{
    static const uint64_t keys[] = {1, 7};
    static const float values[4] = {1, 2, 3, 4};
    const struct payload frames[] = {{keys, sizeof keys}, {values, sizeof values}, {NULL, 0}};
    const struct payload one[] = {{keys, sizeof keys}, {NULL, 0}};
    {
        BODY(Assign, ASSIGN, assign, ASSIGN);
        body.key_count = 2;
        envelope.sequence = 5;
        put_event(bytes, OPEN_SESSION, &envelope, frames);
    }
    {
        BODY(Delete, DELETE, delete_, DELETE);
        body.key_count = 2;
        envelope.sequence = 6;
        put_event(bytes, OPEN_SESSION, &envelope, one);
    }
    {
        BODY(Scan, SCAN, scan, SCAN);
        body.keys_max = 64;
        put_event(bytes, OPEN_SESSION, &envelope, NULL);
    }
    {
        BODY(Describe, DESCRIBE, describe, DESCRIBE);
        body.name = "weights";
        put_event(bytes, OPEN_SESSION, &envelope, NULL);
    }
}

static void put_hello(struct bytes *bytes)
{
    struct spec_fixture sparse, dense;
    fixture_sparse(&sparse, "other", 3, ADAM);
    fixture_dense(&dense, "more", ADAGRAD);
    fixture_tensor(&dense, "w", 3, 2, ANTHILL__INIT_KIND__INIT_NORMAL, 0.1f);
    Anthill__TableSpec *specs[] = {&sparse.spec, &dense.spec};
    BODY(Hello, HELLO, hello, HELLO);
    body.n_tables = 2;
    body.tables = specs;
    put_event(bytes, 3, &envelope, NULL);
}

/* A pull whose keys stand in shared memory, and a push that reads what the pull has written. */
static void memory_seed(void)
{
    static const uint64_t keys[] = {1, 7, 42};
    struct bytes bytes = {.count = 0};
    put_number(&bytes, 0, 1);
    for (uint64_t id = 9; id < 11; id++) {
        const struct shared_block block = {.state = shared_block_state(id, BLOCK_PENDING),
                                           .keys = SHARED_BLOCKS_END,
                                           .rows = SHARED_BLOCKS_END + 64};
        put_number(&bytes, MEMORY, 1);
        put_number(&bytes, 0, 1);
        put_number(&bytes, 1, 1);
        put_number(&bytes, 1 + sizeof block, 2);
        put_number(&bytes, sizeof keys, 2);
        put_number(&bytes, 0, 1);
        put(&bytes, &block, sizeof block);
        put(&bytes, keys, sizeof keys);
        if (id == 9) {
            BODY(Pull, PULL, pull, PULL);
            body.key_count = 3;
            body.block = 1;
            put_event(&bytes, OPEN_SESSION, &envelope, NULL);
        } else {
            BODY(Push, PUSH, push, PUSH);
            body.key_count = 3;
            body.block = 1;
            body.rate_scale = 1;
            envelope.request = id;
            envelope.sequence = 1;
            put_event(&bytes, OPEN_SESSION, &envelope, NULL);
        }
    }
    save("shard", "seed-memory", &bytes);
}

/* One for each optimizer, consistency, and choice of row (see open_shard). */
static void shard_seeds(const char *target)
{
    static const uint64_t keys[] = {1, 7, 42}, chunks[] = {0, UINT64_C(1) << 32};
    request_kind = strcmp(target, "replica") == 0 ? REQUEST : 0;
    for (uint8_t how = 0; how < 126; how = (uint8_t)(how + 11)) {
        struct bytes bytes = {.count = 0};
        char name[16];
        put_number(&bytes, how, 1);
        put_hello(&bytes);
        put_advance(&bytes, 0, 1, 0);
        put_advance(&bytes, 1, 1, 0);
        put_pull(&bytes, 0, keys, 3);
        put_pull(&bytes, 1, chunks, 2);
        put_push(&bytes, 0, 2, keys, 3, 6);
        put_push(&bytes, 1, 3, chunks, 2, 9);
        put_advance(&bytes, 0, 4, 1);
        put_pull(&bytes, 0, keys, 3);
        put_advance(&bytes, 1, 2, 1);
        put_others(&bytes);
        snprintf(name, sizeof name, "seed-%u", how);
        save(target, name, &bytes);
    }
    request_kind = 0;
}

/* A change of each kind, in a message of its own. */
static void replica_seed(void)
{
    static const uint64_t key = 7;
    static const float row[8] = {1, 2};
    struct bytes bytes = {.count = 0};
    put_number(&bytes, 0, 1);
    for (int kind = 0; kind < 12; kind++) {
        Anthill__Change change = ANTHILL__CHANGE__INIT, *changes[] = {&change};
        change.kind = (Anthill__ChangeKind)kind;
        change.key_count = 1;
        change.session = 1;
        BODY(Replicate, REPLICATE, replicate, REPLICATE);
        body.n_changes = 1;
        body.changes = changes;
        put_event(&bytes, FITS, &envelope,
                  (struct payload[]){{&key, sizeof key}, {row, sizeof row}, {NULL, 0}});
    }
    save("replica", "seed-changes", &bytes);
}

static void coordinator_seed(void)
{
    struct bytes bytes = {.count = 0};
    put_number(&bytes, 2, 1);
    for (uint64_t lease = 1; lease <= 3; lease++) {
        Anthill__Metric metric = ANTHILL__METRIC__INIT, *metrics[] = {&metric};
        metric.name = lease == 3 ? "valid/accuracy" : "loss";
        metric.value = 0.5;
        metric.weight = 20;
        {
            BODY(LeaseRequest, LEASE_REQUEST, lease_request, LEASE_REQUEST);
            put_event(&bytes, JOINED, &envelope, NULL);
        }
        {
            BODY(Heartbeat, HEARTBEAT, heartbeat, HEARTBEAT);
            body.n_leases = 1;
            body.leases = &lease;
            put_event(&bytes, JOINED, &envelope, NULL);
        }
        BODY(LeaseDone, LEASE_DONE, lease_done, LEASE_DONE);
        body.lease = lease;
        body.n_metrics = 1;
        body.metrics = metrics;
        put_event(&bytes, JOINED, &envelope, NULL);
    }
    {
        BODY(ShardHeartbeat, SHARD_HEARTBEAT, shard_heartbeat, SHARD_HEARTBEAT);
        body.incarnation = 1;
        put_event(&bytes, 0, &envelope, NULL);
    }
    for (uint32_t server = 0; server < 2; server++) {
        BODY(CheckpointDone, CHECKPOINT_DONE, checkpoint_done, CHECKPOINT_DONE);
        body.server = server;
        body.step = 1;
        put_event(&bytes, 0, &envelope, NULL);
    }
    {
        BODY(StatusRequest, STATUS_REQUEST, status_request, STATUS_REQUEST);
        put_event(&bytes, 3, &envelope, NULL);
    }
    {
        BODY(MapRequest, MAP_REQUEST, map_request, MAP_REQUEST);
        put_event(&bytes, 3, &envelope, NULL);
    }
    BODY(Leave, LEAVE, leave, LEAVE);
    put_event(&bytes, JOINED, &envelope, NULL);
    save("coordinator", "seed", &bytes);
}

/* Each request of client_fuzz.c with an answer of each shard that has the right size. */
static void client_seeds(void)
{
    static const float rows[64];
    static const uint64_t keys[] = {1, 4, 9};
    for (uint8_t what = 1; what < 8; what++) {
        struct bytes bytes = {.count = 0};
        char name[16];
        put_number(&bytes, what % 2, 1);
        for (uint8_t shard = 0; shard < 2; shard++) {
            uint8_t kind = (uint8_t)(0x10 | shard | (shard == 0 ? what << 5 : 0));
            if (what == 1 || what == 3 || what == 4) {
                BODY(PullReply, PULL_REPLY, pull_reply, PULL_REPLY);
                put_event(&bytes, kind, &envelope,
                          (struct payload[]){{rows, 80}, {what == 4 ? rows : NULL, 40}, {NULL, 0}});
            } else if (what == 5) {
                BODY(ScanReply, SCAN_REPLY, scan_reply, SCAN_REPLY);
                put_event(&bytes, kind, &envelope, (struct payload[]){{keys, 24}, {NULL, 0}});
            } else if (what == 6) {
                BODY(DescribeReply, DESCRIBE_REPLY, describe_reply, DESCRIBE_REPLY);
                put_event(&bytes, kind, &envelope, NULL);
            } else if (what == 2) {
                BODY(PushReply, PUSH_REPLY, push_reply, PUSH_REPLY);
                put_event(&bytes, kind, &envelope, NULL);
            } else {
                BODY(DeleteReply, DELETE_REPLY, delete_reply, DELETE_REPLY);
                put_event(&bytes, kind, &envelope, NULL);
            }
        }
        snprintf(name, sizeof name, "seed-%u", what);
        save("client", name, &bytes);
    }
}

/* ---- files -------------------------------------------------------------------------------------
 */

/* Appends the file of the folder to an archive as in fuzz.h. */
static void put_file(struct bytes *bytes, const char *folder, const char *name)
{
    char path[FILE_PATH_BYTES], *data;
    size_t count;
    if (file_path(path, NULL, "%s/%s", folder, name) != STATUS_OK || !file_exists(path)) return;
    assert_int_equal(file_read_all(path, sizeof bytes->data, &data, &count, NULL), STATUS_OK);
    put(bytes, "~~~~", 4);
    put(bytes, name, strlen(name));
    put(bytes, "\n", 1);
    put(bytes, data, count);
    free(data);
}

static void put_step(struct bytes *bytes, const char *folder, unsigned step)
{
    static const char *const files[] = {
        "manifest.yaml",    "table-0-keys.npy", "table-0-rows.npy",   "table-1-keys.npy",
        "table-1-rows.npy", "sessions.bin",     "table-0-deleted.npy"};
    char name[128];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(name, sizeof name, "step-%u/server-0-shard-0/%s", step, files[i]);
        put_file(bytes, folder, name);
    }
    snprintf(name, sizeof name, "step-%u/manifest.yaml", step);
    put_file(bytes, folder, name);
}

static void write_step(struct shard_fixture *fixture, const char *folder, unsigned step,
                       struct checkpoint_base *base)
{
    struct checkpoint_part part;
    struct error error = {0};
    fixture_ok(
        fixture_write_part(fixture->shard, folder, step, 0, *base, NULL, NULL, &part, &error),
        &error);
    fixture_ok(checkpoint_publish(folder, step, &part, 1, &error), &error);
    *base = (struct checkpoint_base){.step = step, .checksum = part.checksum};
}

/* A chain of two steps, and the sessions of the shard that wrote it. */
static void checkpoint_seeds(const char *folder)
{
    static const uint64_t keys[] = {1, 7, 42};
    static const float grads[] = {1, 2, 3, 4, 5, 6};
    struct shard_fixture fixture;
    struct spec_fixture rows, weights;
    struct checkpoint_base base = {0};
    struct bytes bytes = {.count = 0}, sessions = {.count = 0};
    void *data;
    size_t count;
    shard_fixture_init(&fixture);
    fixture_sparse(&rows, "rows", 2, ADAGRAD);
    fixture_dense(&weights, "weights", ADAGRAD);
    fixture_tensor(&weights, "w", 1, 3, ANTHILL__INIT_KIND__INIT_ONE, 0);
    rows.spec.consistency = BSP;
    fixture_hello(&fixture, 4, (const struct spec_fixture *[]){&rows, &weights}, 2);
    fixture_push(&fixture, 4, 1, 0, 0, keys, 3, grads, 6);
    write_step(&fixture, folder, 1, &base);
    fixture_advance(&fixture, 4, 2, 0, false);
    fixture_push(&fixture, 4, 3, 0, 0, keys, 2, grads, 4);
    fixture_advance(&fixture, 4, 4, 1, false);
    fixture_push(&fixture, 4, 5, 0, 1, keys, 2, grads, 4);
    write_step(&fixture, folder, 2, &base);
    put_number(&bytes, 3, 1);
    put_step(&bytes, folder, 1);
    put_step(&bytes, folder, 2);
    save("checkpoint", "seed-chain", &bytes);
    bytes.data[0] = 1;
    save("checkpoint", "seed-all", &bytes);
    assert_int_equal(shard_sessions_save(fixture.shard, &data, &count), STATUS_OK);
    put_number(&sessions, ADAGRAD, 1);
    put(&sessions, data, count);
    save("sessions", "seed", &sessions);
    free(data);
    shard_fixture_deinit(&fixture);
}

/* Six nodes in two partitions with every kind of array. */
static void graph_seed(const char *folder, bool sparse, bool names)
{
    static const char *const files[] = {"node_ids",     "indptr",      "indices",     "halo",
                                        "edge_type",    "edge_weight", "edge_time",   "edge_split",
                                        "node_feat",    "feat_indptr", "label",       "split",
                                        "feat_columns", "feat_values", "name_offsets"};
    struct error error = {0};
    struct graph_builder *builder = NULL;
    struct graph_summary summary;
    struct bytes bytes = {.count = 0};
    char path[FILE_PATH_BYTES], name[128];
    fixture_ok(file_path(path, &error, "%s/graph", folder), &error);
    const struct graph_options options = {
        .out = path, .partitions = 2, .by_range = true, .memory_bytes = 4096, .arguments = "seed"};
    const struct edge_layout layout = {
        .typed = names, .weighted = true, .timed = true, .split = sparse};
    fixture_ok(graph_builder_create(&builder, &options, names, layout, &error), &error);
    graph_builder_split_count(builder, 1);
    uint16_t type = 0;
    if (names) fixture_ok(graph_builder_edge_type(builder, "t", 1, &type, &error), &error);
    for (uint32_t node = 0; node < 6; node++) {
        const uint32_t columns[2] = {node % 3, 3};
        const float values[2] = {1, (float)node};
        snprintf(name, sizeof name, "n%u", node);
        if (names)
            (void)node_index_add_name(graph_builder_nodes(builder), name, strlen(name));
        else
            (void)node_index_add_number(graph_builder_nodes(builder), node);
        graph_builder_label(builder, node, (int32_t)node % 3);
        graph_builder_split(builder, node, 0, (enum graph_split)(node % 3));
        fixture_ok(sparse ? graph_builder_sparse_row(builder, node, columns, values, 2, &error)
                          : graph_builder_dense_row(builder, node, values, 2, &error),
                   &error);
    }
    for (uint32_t e = 0; e < 9; e++) {
        const struct edge edge = {.src = e % 6, .dst = e * 5 % 6, .weight = 0.5f, .time = e};
        fixture_ok(graph_builder_edge(builder, &edge, &error), &error);
    }
    fixture_ok(graph_builder_finish(builder, &summary, &error), &error);
    graph_builder_destroy(builder);
    put_number(&bytes, 1, 1);
    put_file(&bytes, path, "metadata.yaml");
    for (int part = 0; part < 2; part++) {
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            snprintf(name, sizeof name, "part-%d/%s.npy", part, files[i]);
            put_file(&bytes, path, name);
        }
        snprintf(name, sizeof name, "part-%d/names.txt", part);
        put_file(&bytes, path, name);
    }
    save("graph", sparse ? "seed-sparse" : names ? "seed-names" : "seed-dense", &bytes);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/anthill-seeds-XXXXXX";
    if (argc != 2 || mkdtemp(folder) == NULL) {
        fprintf(stderr, "usage: fuzz_seeds CORPUS\n");
        return 64;
    }
    corpus = argv[1];
    shard_seeds("shard");
    shard_seeds("replica");
    replica_seed();
    memory_seed();
    coordinator_seed();
    client_seeds();
    checkpoint_seeds(folder);
    state_seeds(corpus);
    graph_seed(folder, false, false);
    graph_seed(folder, true, false);
    graph_seed(folder, false, true);
    return file_dir_remove(folder, NULL) == STATUS_OK ? 0 : 1;
}
