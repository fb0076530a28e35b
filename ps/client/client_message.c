#include "ps/client/client_message.h"

#include <string.h>

static void put(struct client_link *link, const struct client_shared *shared,
                Anthill__Envelope *envelope, struct frame *payload, unsigned payload_count)
{
    envelope->session = shared->session;
    envelope->map_version = shared->map_version;
    envelope->shard = 1 + link->index;
    outbox_put(&link->outbox, 0, envelope, payload, payload_count);
}

void client_message_hello(struct client_link *link, struct client_shared *shared, uint64_t id,
                          uint32_t table_count)
{
    const struct part *oldest = link->pushes_sent.head;
    Anthill__Hello hello = ANTHILL__HELLO__INIT;
    hello.n_tables = table_count;
    hello.tables = shared->tables;
    hello.known = link->known;
    hello.sequence_first = oldest != NULL ? oldest->sequence : link->sequence_next;
    bool same_host = strncmp(link->endpoint, "ipc://", 6) == 0;
    if (same_host && shared->blocks.base != NULL) hello.memory = &shared->blocks.where;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = id;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &hello;
    put(link, shared, &envelope, NULL, 0);
}

static void put_pull(struct client_link *link, const struct client_shared *shared,
                     const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Pull pull = ANTHILL__PULL__INIT;
    pull.table = link->table_ids[part->table];
    pull.key_count = part->key_count;
    pull.clock = part->clock;
    pull.read_only = part->read_only;
    pull.block = part->block;
    envelope->body_case = ANTHILL__ENVELOPE__BODY_PULL;
    envelope->pull = &pull;
    if (part->block != 0) {
        put(link, shared, envelope, NULL, 0);
        return;
    }
    pull.encoding = part->encoding;
    pull.conditional = part->conditional;
    pull.behind = part->behind;
    struct frame payload[2] = {part_buffer_keys_frame(part->buffer)};
    if (part->conditional) payload[1] = part_buffer_values_frame(part->buffer);
    put(link, shared, envelope, payload, part->conditional ? 2 : 1);
}

static void put_push(struct client_link *link, const struct client_shared *shared,
                     const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Push push = ANTHILL__PUSH__INIT;
    push.table = link->table_ids[part->table];
    push.key_count = part->key_count;
    push.clock = part->clock;
    push.rate_scale = part->rate_scale;
    push.block = part->block;
    push.continues = part->continues;
    if (part->pulled.incarnation == link->incarnation) {
        push.pulled_updates = part->pulled.updates;
        push.pulled_ns = part->pulled.ns;
        push.pulled_clock_min = part->pulled.clock_min;
    }
    envelope->body_case = ANTHILL__ENVELOPE__BODY_PUSH;
    envelope->push = &push;
    if (part->block != 0) {
        put(link, shared, envelope, NULL, 0);
        return;
    }
    push.encoding = part->encoding;
    struct frame payload[2] = {part_buffer_keys_frame(part->buffer),
                               part_buffer_values_frame(part->buffer)};
    put(link, shared, envelope, payload, 2);
}

static void put_assign(struct client_link *link, const struct client_shared *shared,
                       const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Assign assign = ANTHILL__ASSIGN__INIT;
    assign.table = link->table_ids[part->table];
    assign.key_count = part->key_count;
    envelope->body_case = ANTHILL__ENVELOPE__BODY_ASSIGN;
    envelope->assign = &assign;
    struct frame payload[2] = {part_buffer_keys_frame(part->buffer),
                               part_buffer_values_frame(part->buffer)};
    put(link, shared, envelope, payload, 2);
}

static void put_delete(struct client_link *link, const struct client_shared *shared,
                       const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Delete delete = ANTHILL__DELETE__INIT;
    delete.table = link->table_ids[part->table];
    delete.key_count = part->key_count;
    envelope->body_case = ANTHILL__ENVELOPE__BODY_DELETE;
    envelope->delete_ = &delete;
    struct frame keys = part_buffer_keys_frame(part->buffer);
    put(link, shared, envelope, &keys, 1);
}

static void put_scan(struct client_link *link, const struct client_shared *shared,
                     const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Scan scan = ANTHILL__SCAN__INIT;
    scan.table = link->table_ids[part->table];
    scan.cursor = part->cursor;
    scan.keys_max = part->key_count;
    envelope->body_case = ANTHILL__ENVELOPE__BODY_SCAN;
    envelope->scan = &scan;
    put(link, shared, envelope, NULL, 0);
}

static void put_describe(struct client_link *link, const struct client_shared *shared,
                         const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Describe describe = ANTHILL__DESCRIBE__INIT;
    describe.name = (char *)part->name;
    envelope->body_case = ANTHILL__ENVELOPE__BODY_DESCRIBE;
    envelope->describe = &describe;
    put(link, shared, envelope, NULL, 0);
}

static void put_advance(struct client_link *link, const struct client_shared *shared,
                        const struct part *part, Anthill__Envelope *envelope)
{
    Anthill__Advance advance = ANTHILL__ADVANCE__INIT;
    advance.clock = part->clock;
    advance.leave = part->leave;
    envelope->body_case = ANTHILL__ENVELOPE__BODY_ADVANCE;
    envelope->advance = &advance;
    put(link, shared, envelope, NULL, 0);
}

void client_message_part(struct client_link *link, const struct client_shared *shared,
                         const struct part *part)
{
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.incarnation = link->incarnation;
    envelope.request = part->id;
    envelope.sequence = part->sequence;
    switch (part->kind) {
    case PART_PULL:
        put_pull(link, shared, part, &envelope);
        break;
    case PART_PUSH:
        put_push(link, shared, part, &envelope);
        break;
    case PART_ASSIGN:
        put_assign(link, shared, part, &envelope);
        break;
    case PART_DELETE:
        put_delete(link, shared, part, &envelope);
        break;
    case PART_SCAN:
        put_scan(link, shared, part, &envelope);
        break;
    case PART_DESCRIBE:
        put_describe(link, shared, part, &envelope);
        break;
    case PART_ADVANCE:
        put_advance(link, shared, part, &envelope);
        break;
    }
}
