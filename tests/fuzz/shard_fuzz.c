/* A shard with a sparse and a dense table and two open sessions, under messages of any body. Input:
 * a byte that says how the tables work, then events (messages.h). An event's kind, beside its
 * sender: 0x10: its frames go into the memory that clients share, 0x20: its sender trains no more,
 * 0x40: the session is one that is open. */
#include <stdlib.h>
#include <string.h>

#include "ps/shared_block.h"
#include "tests/fuzz/fuzz_tables.h"
#include "tests/fuzz/messages.h"

enum { SESSIONS = 2, MEMORY_BYTES = SHARED_BLOCKS_END + 65536 };

static unsigned char *shared_memory;

static void *open_memory(void *context, const Anthill__SharedMemory *memory)
{
    (void)context;
    return memory->bytes == MEMORY_BYTES ? shared_memory : NULL;
}

static void close_memory(void *context, void *base, uint64_t bytes)
{
    (void)context;
    CHECK(base == shared_memory && bytes == MEMORY_BYTES);
}

static bool is_open(void *context, uint32_t pid, uint32_t fd)
{
    (void)context;
    return pid % 2 == 0 || fd != 1;
}

/* What a shard answers, others unpack. */
static void check_replies(struct outbox *outbox)
{
    for (unsigned i = 0; i < outbox->count; i++)
        CHECK(wire_unpack(&outbox->messages[i], NULL) == STATUS_OK);
    outbox_clear(outbox);
}

static void say_hello(struct shard *shard, struct fuzz_tables *tables, uint64_t session)
{
    Anthill__TableSpec *specs[] = {&tables->rows, &tables->weights};
    Anthill__SharedMemory memory = ANTHILL__SHARED_MEMORY__INIT;
    memory.bytes = MEMORY_BYTES;
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    hello.n_tables = 2;
    hello.tables = specs;
    if (session == 1) hello.memory = &memory;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    struct outbox outbox = {0};
    const struct message message = {.peer = session, .envelope = &envelope};
    shard_handle(shard, 1, &message, &outbox);
    CHECK(outbox.count == 1 && wire_unpack(&outbox.messages[0], NULL) == STATUS_OK);
    CHECK(outbox.messages[0].envelope->body_case == ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
    outbox_deinit(&outbox);
}

/* The low seven bits of `how` choose the optimizer and the consistency. */
static struct shard *open_shard(uint8_t how)
{
    const struct shard_options options = {.incarnation = 7,
                                          .session_idle_ns = UINT64_C(60000000000),
                                          .memory = {NULL, open_memory, close_memory, is_open}};
    struct shard *shard = NULL;
    struct fuzz_tables tables;
    fuzz_tables_init(&tables, (Anthill__OptimizerKind)(how % 7));
    tables.rows.consistency = tables.weights.consistency = (Anthill__ConsistencyMode)(how / 7 % 3);
    tables.rows.versioned = how / 21 % 2 == 1;
    tables.rows.evict = (Anthill__EvictKind)(how / 42 % 3);
    CHECK(shard_create(&shard, &options) == STATUS_OK);
    for (uint64_t session = 1; session <= SESSIONS; session++)
        say_hello(shard, &tables, session);
    return shard;
}

/* Frame 0 into the block that it begins with the number of, frame 1 behind the blocks. */
static void write_memory(const struct messages_event *event)
{
    struct fuzz_input block = event->header;
    uint32_t number = 1 + (uint32_t)fuzz_byte(&block) % 4;
    size_t bytes =
        block.bytes < sizeof(struct shared_block) ? block.bytes : sizeof(struct shared_block);
    if (bytes > 0) memcpy(shared_block_at(shared_memory, number), block.data, bytes);
    if (event->payload_count == 0 || event->payload[0].bytes == 0) return;
    bytes = event->payload[0].bytes < 65536 ? event->payload[0].bytes : 65536;
    memcpy(shared_memory + SHARED_BLOCKS_END, event->payload[0].data, bytes);
}

static void handle(struct shard *shard, uint64_t now_ns, const struct messages_event *event,
                   struct outbox *outbox)
{
    uint64_t sender = event->kind % 16;
    struct message message;
    if ((event->kind & 0x10) != 0) {
        write_memory(event);
    } else if ((event->kind & 0x20) != 0) {
        shard_sessions_gone(shard, &sender, 1, outbox);
    } else if (messages_unpack(event, sender, &message)) {
        if ((event->kind & 0x40) != 0) message.envelope->session = 1 + sender % SESSIONS;
        shard_handle(shard, now_ns, &message, outbox);
        wire_message_deinit(&message);
    }
    check_replies(outbox);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct messages_event event;
    struct outbox outbox = {0};
    struct shard_stats stats;
    uint64_t now_ns = 1;
    void *sessions = NULL;
    size_t session_bytes;
    if (shared_memory == NULL) shared_memory = aligned_alloc(64, MEMORY_BYTES);
    CHECK(shared_memory != NULL);
    memset(shared_memory, 0, SHARED_MEMORY_HEADER_BYTES + 4 * sizeof(struct shared_block));
    struct shard *shard = open_shard(fuzz_byte(&input));
    while (messages_next(&input, &event)) {
        now_ns += messages_pause_ns(event.pause);
        if (messages_pause_ns(event.pause) > 0) shard_tick(shard, now_ns, &outbox);
        handle(shard, now_ns, &event, &outbox);
    }
    shard_stats(shard, &stats);
    CHECK(shard_sessions_save(shard, &sessions, &session_bytes) == STATUS_OK);
    free(sessions);
    outbox_deinit(&outbox);
    shard_destroy(shard);
    return 0;
}
