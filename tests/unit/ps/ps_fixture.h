/* Table specs and messages for the tests of ps. */
#ifndef ANTHILL_TESTS_UNIT_PS_PS_FIXTURE_H
#define ANTHILL_TESTS_UNIT_PS_PS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "common/wire.h"
#include "ps/shard.h"
#include "ps/table.h"

#define SGD     ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD
#define ADAGRAD ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD
#define ADAM    ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM
#define ASYNC   ANTHILL__CONSISTENCY_MODE__CONSISTENCY_ASYNC
#define SSP     ANTHILL__CONSISTENCY_MODE__CONSISTENCY_SSP
#define BSP     ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP

/* A spec with the memory behind its pointers; not to be copied. */
struct spec_fixture {
    Anthill__TableSpec spec;
    Anthill__OptimizerSpec optimizer;
    Anthill__TensorSpec tensors[4];
    Anthill__TensorSpec *tensor_pointers[4];
};

static inline void fixture_optimizer(struct spec_fixture *fixture, Anthill__OptimizerKind kind)
{
    anthill__optimizer_spec__init(&fixture->optimizer);
    fixture->optimizer.kind = kind;
    fixture->optimizer.rate = kind == SGD ? 1.0f : 0.1f;
    fixture->optimizer.beta1 = 0.9f;
    fixture->optimizer.beta2 = 0.999f;
    fixture->optimizer.epsilon = 1e-8f;
    fixture->spec.optimizer = &fixture->optimizer;
}

/* Rows start as zeros, SGD at rate 1: a row is minus the sum of its gradients. */
static inline void fixture_sparse(struct spec_fixture *fixture, const char *name, uint32_t dim,
                                  Anthill__OptimizerKind kind)
{
    anthill__table_spec__init(&fixture->spec);
    fixture->spec.name = (char *)name;
    fixture->spec.kind = ANTHILL__TABLE_KIND__TABLE_SPARSE;
    fixture->spec.dim = dim;
    fixture->spec.seed = 11;
    fixture->spec.init = ANTHILL__INIT_KIND__INIT_ZERO;
    fixture_optimizer(fixture, kind);
}

static inline void fixture_dense(struct spec_fixture *fixture, const char *name,
                                 Anthill__OptimizerKind kind)
{
    anthill__table_spec__init(&fixture->spec);
    fixture->spec.name = (char *)name;
    fixture->spec.kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    fixture->spec.seed = 12;
    fixture->spec.tensors = fixture->tensor_pointers;
    fixture_optimizer(fixture, kind);
}

static inline void fixture_tensor(struct spec_fixture *fixture, const char *name, uint32_t rows,
                                  uint32_t cols, Anthill__InitKind init, float weight_decay)
{
    size_t place = fixture->spec.n_tensors++;
    Anthill__TensorSpec *tensor = fixture->tensor_pointers[place] = &fixture->tensors[place];
    anthill__tensor_spec__init(tensor);
    tensor->name = (char *)name;
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->init = init;
    tensor->init_scale = 0.5f;
    tensor->weight_decay = weight_decay;
}

static inline struct table *fixture_table(const struct spec_fixture *fixture)
{
    struct table *table = NULL;
    struct error error = {0};
    if (table_create(&table, &fixture->spec, &error) != STATUS_OK) fail_msg("%s", error.text);
    return table;
}

/* All keys of the table into keys[table_row_count]. */
static inline void fixture_keys(const struct table *table, uint64_t *keys)
{
    uint64_t cursor = 0, rows = table_row_count(table), listed = 0, some[256];
    do {
        uint32_t count = 0;
        cursor = table_scan(table, cursor, some, 256, &count);
        assert_true(count <= rows - listed);
        memcpy(keys + listed, some, count * sizeof *keys);
        listed += count;
    } while (cursor != 0);
    assert_int_equal(listed, rows);
}

/* The stored form of a row that is there; good until the call after the next. */
static inline const float *fixture_stored(const struct table *table, uint64_t key)
{
    static float stored[2][65536];
    static unsigned turn;
    turn ^= 1;
    assert_true(table_stored_floats(table, key) <= 65536);
    assert_true(table_stored(table, key, stored[turn]));
    return stored[turn];
}

/* A shard and what it answers. */
struct shard_fixture {
    struct shard *shard;
    struct outbox outbox;
    uint64_t now_ns;
};

static inline void shard_fixture_init(struct shard_fixture *fixture)
{
    struct shard_options options = {
        .server = 1, .shard = 2, .incarnation = 77, .session_idle_ns = 1000};
    *fixture = (struct shard_fixture){.now_ns = 5};
    assert_int_equal(shard_create(&fixture->shard, &options), STATUS_OK);
}

static inline void shard_fixture_deinit(struct shard_fixture *fixture)
{
    shard_destroy(fixture->shard);
    outbox_deinit(&fixture->outbox);
}

/* Bytes of a payload one byte off any alignment, as a socket may deliver them. */
static inline struct frame fixture_frame(uint8_t **memory, const void *data, size_t bytes)
{
    *memory = malloc(bytes + 65);
    assert_non_null(*memory);
    memcpy(*memory + 1, data, bytes);
    return (struct frame){.data = *memory + 1, .bytes = bytes};
}

/* Hands the shard a message whose payload frames are keys and grads (NULL: none). */
static inline void fixture_send(struct shard_fixture *fixture, Anthill__Envelope *envelope,
                                const void *keys, size_t key_bytes, const void *grads,
                                size_t grad_bytes)
{
    uint8_t *memory[2] = {NULL, NULL};
    struct message message = {.peer = envelope->session + 1000, .envelope = envelope};
    if (keys != NULL) {
        message.payload[message.payload_count++] = fixture_frame(&memory[0], keys, key_bytes);
    }
    if (grads != NULL) {
        message.payload[message.payload_count++] = fixture_frame(&memory[1], grads, grad_bytes);
    }
    outbox_clear(&fixture->outbox);
    shard_handle(fixture->shard, fixture->now_ns, &message, &fixture->outbox);
    free(memory[0]);
    free(memory[1]);
}

/* Reply `place` of the last call, unpacked. */
static inline const Anthill__Envelope *fixture_reply(struct shard_fixture *fixture, unsigned place)
{
    assert_true(place < fixture->outbox.count);
    struct message *message = &fixture->outbox.messages[place];
    struct error error = {0};
    if (message->envelope == NULL && wire_unpack(message, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    return message->envelope;
}

static inline enum status fixture_status(struct shard_fixture *fixture, struct error *error)
{
    assert_int_equal(fixture->outbox.count, 1);
    return wire_error(fixture_reply(fixture, 0), error);
}

/* The last call was answered by one error of this status whose text has `text` in it. */
static inline void fixture_refused(struct shard_fixture *fixture, enum status status,
                                   const char *text)
{
    struct error error = {0};
    assert_int_equal(fixture_status(fixture, &error), status);
    if (strstr(error.text, text) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, text);
}

static inline void fixture_hello(struct shard_fixture *fixture, uint64_t session,
                                 const struct spec_fixture *const *specs, size_t count)
{
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    Anthill__TableSpec *tables[8];
    for (size_t i = 0; i < count; i++)
        tables[i] = (Anthill__TableSpec *)&specs[i]->spec;
    hello.n_tables = count;
    hello.tables = tables;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = 1;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
}

static inline void fixture_hello_one(struct shard_fixture *fixture, uint64_t session,
                                     const struct spec_fixture *spec)
{
    fixture_hello(fixture, session, &spec, 1);
}

static inline void fixture_pull(struct shard_fixture *fixture, uint64_t session, uint64_t request,
                                uint32_t table, uint64_t clock, const uint64_t *keys,
                                uint32_t key_count)
{
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.table = table;
    pull.key_count = key_count;
    pull.clock = clock;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = request;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope.pull = &pull;
    fixture_send(fixture, &envelope, keys, key_count * sizeof *keys, NULL, 0);
}

static inline void fixture_push(struct shard_fixture *fixture, uint64_t session, uint64_t sequence,
                                uint32_t table, uint64_t clock, const uint64_t *keys,
                                uint32_t key_count, const float *grads, size_t floats)
{
    Anthill__Push push = ANTHILL__PUSH__INIT;
    push.table = table;
    push.key_count = key_count;
    push.clock = clock;
    push.rate_scale = 1;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = 500 + sequence;
    envelope.session = session;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope.push = &push;
    fixture_send(fixture, &envelope, keys, key_count * sizeof *keys, grads, floats * sizeof *grads);
}

static inline void fixture_advance(struct shard_fixture *fixture, uint64_t session,
                                   uint64_t sequence, uint64_t clock, bool leave)
{
    Anthill__Advance advance = ANTHILL__ADVANCE__INIT;
    advance.clock = clock;
    advance.leave = leave;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = 900 + sequence;
    envelope.session = session;
    envelope.sequence = sequence;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_ADVANCE;
    envelope.advance = &advance;
    fixture_send(fixture, &envelope, NULL, 0, NULL, 0);
}

/* Value 0 of row 0 of reply `place`, a PullReply. */
static inline float fixture_value(struct shard_fixture *fixture, unsigned place)
{
    const Anthill__Envelope *reply = fixture_reply(fixture, place);
    if (reply->body_case == ANTHILL__ENVELOPE__BODY_ERROR) fail_msg("%s", reply->error->text);
    assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_PULL_REPLY);
    const struct message *message = &fixture->outbox.messages[place];
    assert_int_equal(message->payload_count, 1);
    float value;
    memcpy(&value, message->payload[0].data, sizeof value);
    return value;
}

static inline float fixture_row(struct shard_fixture *fixture, uint64_t session, uint32_t table,
                                uint64_t key)
{
    fixture_pull(fixture, session, 1, table, 0, &key, 1);
    return fixture_value(fixture, 0);
}

static inline uint64_t fixture_seed(void)
{
    const char *text = getenv("ANTHILL_TEST_SEED");
    uint64_t seed = text == NULL ? 20240607 : strtoull(text, NULL, 10);
    print_message("seed %llu (ANTHILL_TEST_SEED=%llu gives this run again)\n",
                  (unsigned long long)seed, (unsigned long long)seed);
    return seed;
}

#endif
