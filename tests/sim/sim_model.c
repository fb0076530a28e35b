/* What shards must do, beside what they do. Every shard has a model: the rows that follow from the
 * requests that it has answered, which sequences it has taken, who trains at which clock. The model
 * hears of requests and answers by wrapped calls, so it needs no help of the code under test.
 *
 * A shard that starts from a checkpoint has the model that was kept when that checkpoint was cut.
 * Gradients are whole numbers and SGD has rate 1, so sums are exact in any order. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/table.h"
#include "tests/sim/sim_model.h"
#include "tests/sim/sim_wrap.h"

struct world_model world;

/* ---- models --------------------------------------------------------------------------------- */

void model_init(void)
{
    memset(&world, 0, sizeof world);
}

void model_forget_pulls(struct model *model)
{
    for (uint32_t i = 0; i < PULLS; i++)
        wire_message_deinit(&model->pulls[i]);
}

void model_deinit(void)
{
    while (world.cuts != NULL) {
        struct cut_model *cut = world.cuts;
        world.cuts = cut->next;
        free(cut);
    }
    for (uint32_t i = 0; i < INSTANCES_MAX; i++)
        model_forget_pulls(&world.models[i]);
}

struct model *model_find(const struct shard *shard)
{
    for (uint32_t i = 0; i < INSTANCES_MAX; i++) {
        if (world.models[i].shard == shard) return &world.models[i];
    }
    sim_fail("a shard without a model");
}

static uint32_t index_of(const struct model *model)
{
    return model->index;
}

uint32_t model_index(const struct shard *shard)
{
    return model_find(shard)->index;
}

/* A shard that starts has no rows, nobody trains, and clocks begin anew. */
static void clear_model(struct model *model)
{
    memset(&model->state, 0, sizeof model->state);
    model->log = NULL;
    model->stream = model->taken = 0;
    model_forget_pulls(model);
}

enum status __wrap_shard_create(struct shard **shard, const struct shard_options *options)
{
    enum status status = __real_shard_create(shard, options);
    CHECK(status == STATUS_OK);
    struct model *model = model_find(NULL);
    clear_model(model);
    model->shard = *shard;
    model->index = options->server * sim.threads + options->shard;
    model->incarnation = options->incarnation;
    return status;
}

void __wrap_shard_destroy(struct shard *shard)
{
    if (shard != NULL) model_find(shard)->shard = NULL;
    __real_shard_destroy(shard);
}

void __wrap_shard_clear(struct shard *shard)
{
    clear_model(model_find(shard));
    __real_shard_clear(shard);
}

/* ---- sequences ------------------------------------------------------------------------------ */

uint8_t *model_sequence(uint8_t taken[SESSIONS_MAX_][SEQUENCES / 8],
                        const Anthill__Envelope *request, uint8_t *mask)
{
    if (request->session >= SESSIONS_MAX_ || request->sequence >= SEQUENCES)
        sim_fail("session %" PRIu64 " sequence %" PRIu64 " is more than a run may have",
                 request->session, request->sequence);
    *mask = (uint8_t)(1u << request->sequence % 8);
    return &taken[request->session][request->sequence / 8];
}

static bool is_taken(uint8_t taken[SESSIONS_MAX_][SEQUENCES / 8], const Anthill__Envelope *request)
{
    uint8_t mask, *bits = model_sequence(taken, request, &mask);
    return (*bits & mask) != 0;
}

/* False: it was before. */
bool model_take(uint8_t taken[SESSIONS_MAX_][SEQUENCES / 8], const Anthill__Envelope *request)
{
    uint8_t mask, *bits = model_sequence(taken, request, &mask);
    bool first = (*bits & mask) == 0;
    *bits |= mask;
    return first;
}

/* ---- clocks --------------------------------------------------------------------------------- */

void model_find_min(struct model *model)
{
    uint64_t min = UINT64_MAX;
    for (uint32_t i = 0; i < model->state.trainer_count; i++) {
        if (model->state.trainers[i].clock < min) min = model->state.trainers[i].clock;
    }
    if (model->state.trainer_count > 0 && min < model->state.clock_min)
        sim_fail("shard %u: the slowest trainer's clock goes back from %" PRIu64 " to %" PRIu64,
                 index_of(model), model->state.clock_min, min);
    if (model->state.trainer_count > 0) model->state.clock_min = min;
    /* What of bsp is in the rows by now. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < model->state.open_count; i++) {
        bool open =
            model->state.trainer_count > 0 && model->state.open[i].clock >= model->state.clock_min;
        if (open) model->state.open[kept++] = model->state.open[i];
    }
    model->state.open_count = kept;
}

static void leave(struct model *model, uint64_t session)
{
    for (uint32_t i = 0; i < model->state.trainer_count; i++) {
        if (model->state.trainers[i].session != session) continue;
        model->state.trainers[i] = model->state.trainers[--model->state.trainer_count];
        break;
    }
    model_find_min(model);
}

static void advance(struct model *model, const Anthill__Envelope *request)
{
    if (!model_take(model->state.now.taken, request)) return;
    (void)model_take(lineage_of(model)->ever, request);
    if (request->advance->leave) {
        leave(model, request->session);
        return;
    }
    uint32_t place = 0;
    while (place < model->state.trainer_count &&
           model->state.trainers[place].session != request->session)
        place++;
    CHECK(place < TRAINERS);
    if (place == model->state.trainer_count) {
        model->state.trainers[model->state.trainer_count].session = request->session;
        model->state.trainers[model->state.trainer_count++].clock = model->state.clock_min;
    }
    if (request->advance->clock > model->state.trainers[place].clock)
        model->state.trainers[place].clock = request->advance->clock;
    model_find_min(model);
}

/* ---- requests that change rows -------------------------------------------------------------- */

static float *open_sums(struct model *model, uint64_t clock, uint32_t place)
{
    for (uint32_t i = 0; i < model->state.open_count; i++) {
        if (model->state.open[i].clock == clock) return model->state.open[i].sums[place];
    }
    CHECK(model->state.open_count < OPEN);
    struct open_clock *open = &model->state.open[model->state.open_count++];
    memset(open, 0, sizeof *open);
    open->clock = clock;
    return open->sums[place];
}

static uint64_t payload_key(const struct message *message, uint32_t i)
{
    uint64_t key;
    memcpy(&key, (const char *)message->payload[0].data + i * sizeof key, sizeof key);
    return key;
}

static void push(struct model *model, const struct message *message, bool repeated)
{
    const Anthill__Envelope *request = message->envelope;
    const Anthill__Push *body = request->push;
    uint32_t table = model_table(model->shard, body->table);
    if (repeated) {
        if (!is_taken(model->state.now.taken, request))
            sim_fail("shard %u: push %" PRIu64 " of session %" PRIu64
                     " is answered as a repeat, but was never taken",
                     index_of(model), request->sequence, request->session);
        return;
    }
    if (!model_take(model->state.now.taken, request))
        sim_fail("shard %u takes push %" PRIu64 " of session %" PRIu64 " twice", index_of(model),
                 request->sequence, request->session);
    bool first = model_take(lineage_of(model)->ever, request);
    bool waits = table == TABLE_BSP && model->state.trainer_count > 0 &&
                 body->clock >= model->state.clock_min;
    const char *grads = message->payload[1].data;
    for (uint32_t i = 0; i < body->key_count; i++) {
        uint32_t place = model_place(table, payload_key(message, i));
        float *open = waits ? open_sums(model, body->clock, place) : NULL;
        for (uint32_t j = 0; j < model_floats(table, place); j++) {
            float grad;
            memcpy(&grad, grads, sizeof grad);
            grads += sizeof grad;
            model->state.now.rows[table][place][j] -= grad;
            if (open != NULL) open[j] += grad;
            if (first) world.taken[request->session][table][place][j] += grad;
        }
    }
}

static void assign_or_delete(struct model *model, const struct message *message)
{
    const Anthill__Envelope *request = message->envelope;
    bool assigns = request->body_case == ANTHILL__ENVELOPE__BODY_ASSIGN;
    if (!model_take(model->state.now.taken, request)) return;
    (void)model_take(lineage_of(model)->ever, request);
    uint32_t count = assigns ? request->assign->key_count : request->delete_->key_count;
    for (uint32_t i = 0; i < count; i++) {
        float *row =
            model->state.now.rows[TABLE_SPARSE][model_place(TABLE_SPARSE, payload_key(message, i))];
        memset(row, 0, DIM * sizeof *row);
        if (!assigns) continue;
        memcpy(row, (const char *)message->payload[1].data + i * DIM * sizeof *row,
               DIM * sizeof *row);
    }
}

/* ---- pulls ---------------------------------------------------------------------------------- */

static void keep_pull(struct model *model, const struct message *message)
{
    struct message *kept = &model->pulls[model->pull_next++ % PULLS];
    wire_message_deinit(kept);
    *kept = (struct message){.peer = message->peer, .payload_count = 1};
    kept->header = frame_create(message->header.bytes);
    kept->payload[0] = frame_create(message->payload[0].bytes);
    CHECK(kept->header.data != NULL && kept->payload[0].data != NULL);
    memcpy(kept->header.data, message->header.data, message->header.bytes);
    memcpy(kept->payload[0].data, message->payload[0].data, message->payload[0].bytes);
    CHECK(wire_unpack(kept, NULL) == STATUS_OK);
}

static struct message *find_pull(struct model *model, uint64_t peer, uint64_t request)
{
    for (uint32_t i = 0; i < PULLS; i++) {
        struct message *kept = &model->pulls[i];
        if (kept->envelope != NULL && kept->peer == peer && kept->envelope->request == request)
            return kept;
    }
    return NULL;
}

static float expected(const struct model *model, uint32_t table, uint32_t place, uint32_t j)
{
    float value = model->state.now.rows[table][place][j];
    for (uint32_t i = 0; table == TABLE_BSP && i < model->state.open_count; i++)
        value += model->state.open[i].sums[place][j];
    return value;
}

static void check_pull(struct model *model, const struct message *asked,
                       const struct message *reply)
{
    const Anthill__Pull *pull = asked->envelope->pull;
    uint32_t table = model_table(model->shard, pull->table);
    uint64_t bound = table == TABLE_SSP ? SSP_BOUND : table == TABLE_BSP ? 0 : UINT64_MAX;
    if (model->state.trainer_count > 0 && pull->clock > model->state.clock_min &&
        pull->clock - model->state.clock_min > bound) {
        sim_fail("shard %u: a pull of %s at clock %" PRIu64
                 " is answered when the slowest trainer is at %" PRIu64,
                 index_of(model), model_spec(table)->name, pull->clock, model->state.clock_min);
    }
    const char *values = reply->payload[0].data;
    for (uint32_t i = 0; i < pull->key_count; i++) {
        uint32_t place = model_place(table, payload_key(asked, i));
        for (uint32_t j = 0; j < model_floats(table, place); j++, values += sizeof(float)) {
            float value, wanted = expected(model, table, place, j);
            memcpy(&value, values, sizeof value);
            if (value != wanted)
                sim_fail("shard %u: a pull of %s place %u gives %g; %g expected", index_of(model),
                         model_spec(table)->name, place, (double)value, (double)wanted);
        }
    }
}

/* ---- what shards answer --------------------------------------------------------------------- */

/* Unpacks a reply that is still the outbox's. */
struct message model_look(const struct message *message)
{
    struct message copy = *message;
    copy.envelope = NULL;
    copy.header.release = NULL;
    for (unsigned i = 0; i < copy.payload_count; i++)
        copy.payload[i].release = NULL;
    CHECK(wire_unpack(&copy, NULL) == STATUS_OK);
    return copy;
}

static void hear_reply(struct model *model, const struct message *asked,
                       const Anthill__Envelope *reply)
{
    switch (reply->body_case) {
    case ANTHILL__ENVELOPE__BODY_PUSH_REPLY:
        push(model, asked, reply->push_reply->repeated_push);
        break;
    case ANTHILL__ENVELOPE__BODY_ASSIGN_REPLY:
    case ANTHILL__ENVELOPE__BODY_DELETE_REPLY:
        assign_or_delete(model, asked);
        break;
    case ANTHILL__ENVELOPE__BODY_ADVANCE_REPLY:
        advance(model, asked->envelope);
        break;
    default:
        break;
    }
}

static void check_limits(const struct model *model)
{
    struct shard_stats stats;
    shard_stats(model->shard, &stats);
    if (stats.waiting_pulls > 64 * stats.sessions)
        sim_fail("shard %u keeps %" PRIu64 " pulls of %" PRIu64 " sessions", index_of(model),
                 stats.waiting_pulls, stats.sessions);
    if (stats.trainers != model->state.trainer_count)
        sim_fail("shard %u: %" PRIu64 " sessions train; %u expected", index_of(model),
                 stats.trainers, model->state.trainer_count);
}

/* Changes first: a pull that is answered by them sees them. */
void model_hear_replies(struct model *model, const struct message *asked,
                        const struct outbox *outbox, unsigned first)
{
    struct message replies[64];
    unsigned count = outbox->count - first;
    CHECK(count <= 64);
    for (unsigned i = 0; i < count; i++) {
        replies[i] = model_look(&outbox->messages[first + i]);
        bool own = asked != NULL && replies[i].peer == asked->peer &&
                   replies[i].envelope->request == asked->envelope->request;
        if (own) hear_reply(model, asked, replies[i].envelope);
    }
    for (unsigned i = 0; i < count; i++) {
        struct message *pull = find_pull(model, replies[i].peer, replies[i].envelope->request);
        if (pull != NULL && replies[i].envelope->body_case == ANTHILL__ENVELOPE__BODY_PULL_REPLY)
            check_pull(model, pull, &replies[i]);
        if (pull != NULL) wire_message_deinit(pull);
        wire_message_deinit(&replies[i]);
    }
    check_limits(model);
}

void __wrap_shard_handle(struct shard *shard, uint64_t now_ns, const struct message *message,
                         struct outbox *outbox)
{
    struct model *model = model_find(shard);
    unsigned before = outbox->count;
    const Anthill__Envelope *asked = message->envelope;
    if (asked->body_case == ANTHILL__ENVELOPE__BODY_PULL) keep_pull(model, message);
    if (asked->sequence != 0) {
        struct lineage *lineage = lineage_of(model);
        uint32_t place = lineage->asked_next++ % ASKED;
        lineage->asked[place].peer = message->peer;
        lineage->asked[place].request = asked->request;
        lineage->asked[place].session = asked->session;
        lineage->asked[place].sequence = asked->sequence;
    }
    __real_shard_handle(shard, now_ns, message, outbox);
    model_hear_replies(model, message, outbox, before);
}

void __wrap_shard_sessions_gone(struct shard *shard, const uint64_t *sessions, uint32_t count,
                                struct outbox *outbox)
{
    struct model *model = model_find(shard);
    unsigned before = outbox->count;
    __real_shard_sessions_gone(shard, sessions, count, outbox);
    for (uint32_t i = 0; i < count; i++)
        leave(model, sessions[i]);
    model_hear_replies(model, NULL, outbox, before);
}

/* ---- rows and checkpoints ------------------------------------------------------------------- */

void model_check(const struct shard *shard, const char *when)
{
    const struct model *model = model_find(shard);
    for (uint32_t number = 0; number < shard_table_count(shard); number++) {
        uint32_t table = model_table(shard, number);
        for (uint32_t place = 0; place < model_places(table); place++) {
            float stored[16] = {0};
            (void)table_stored(shard_table(shard, number), model_key(table, place), stored);
            for (uint32_t j = 0; j < model_floats(table, place); j++) {
                float wanted = expected(model, table, place, j);
                if (stored[j] != wanted)
                    sim_fail("%s shard %u has %g in %s place %u; %g expected", when,
                             index_of(model), (double)stored[j], model_spec(table)->name, place,
                             (double)wanted);
            }
        }
    }
}

enum status __wrap_checkpoint_cut_begin(struct checkpoint_cut **cut, const struct shard *shard,
                                        const struct cut_options *options, struct error *error)
{
    struct cut_model *kept = malloc(sizeof *kept);
    CHECK(kept != NULL);
    struct model *model = model_find(shard);
    *kept = (struct cut_model){.next = world.cuts, .shard = index_of(model), .step = options->step};
    kept->kept = model->state.now;
    world.cuts = kept;
    return __real_checkpoint_cut_begin(cut, shard, options, error);
}

void model_restored(const struct shard *shard, uint64_t step)
{
    struct model *model = model_find(shard);
    const struct cut_model *cut = world.cuts;
    while (cut != NULL && (cut->step != step || cut->shard != index_of(model)))
        cut = cut->next;
    if (cut == NULL)
        sim_fail("shard %u restores step %" PRIu64 ", which was never cut", index_of(model), step);
    model->state.now = cut->kept;
    model_check(shard, "restored");
}

/* ---- what clients were told ----------------------------------------------------------------- */

void model_push_ended(uint64_t session, uint32_t table, const uint32_t *places, uint32_t count,
                      const float *grads)
{
    CHECK(session < SESSIONS_MAX_);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < model_floats(table, places[i]); j++)
            world.ended[session][table][places[i]][j] += *grads++;
    }
}

void model_session_check(uint64_t session)
{
    CHECK(session < SESSIONS_MAX_);
    for (uint32_t table = 0; table < TABLES; table++) {
        for (uint32_t place = 0; place < model_places(table); place++) {
            for (uint32_t j = 0; j < model_floats(table, place); j++) {
                float told = world.ended[session][table][place][j];
                float taken = world.taken[session][table][place][j];
                if (told != taken)
                    sim_fail("session %" PRIu64 ": pushes of %s place %u that ended well come to "
                             "%g; shards took %g",
                             session, model_spec(table)->name, place, (double)told, (double)taken);
            }
        }
    }
}
