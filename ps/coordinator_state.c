#include "ps/coordinator_state.h"

#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/check.h"
#include "common/checksum.h"
#include "ps/coordinator_internal.h"

#define STATE_VERSION      2u
#define STATE_HEADER_BYTES 32u

static const uint8_t STATE_MAGIC[8] = {'A', 'N', 'T', 'H', 'C', 'R', 'D', '1'};

static void put_le(uint8_t *bytes, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *bytes, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = count; i > 0; i--)
        value = value << 8 | bytes[i - 1];
    return value;
}

/* ---- to bytes: all memory of the message is in one arena ---------------------------------------
 */

/* A repeated message field: `count` items and the pointers that protobuf-c wants to them. */
#define MESSAGES(arena, items, pointers, count)                                                    \
    do {                                                                                           \
        (items) = arena_zalloc(arena, (count) * sizeof *(items));                                  \
        (pointers) = arena_zalloc(arena, (count) * sizeof(void *));                                \
        for (size_t i_ = 0; i_ < (size_t)(count); i_++)                                            \
            (pointers)[i_] = &(items)[i_];                                                         \
    } while (0)

static Anthill__Metric **metrics_out(struct arena *arena, const struct metric_set *set)
{
    Anthill__Metric *metrics, **pointers;
    MESSAGES(arena, metrics, pointers, set->count);
    for (uint32_t i = 0; i < set->count; i++) {
        anthill__metric__init(&metrics[i]);
        metrics[i].name = (char *)set->items[i].name;
        metrics[i].value = set->items[i].value;
        metrics[i].weight = set->items[i].weight;
    }
    return pointers;
}

static void books_out(struct arena *arena, const struct coordinator *coordinator,
                      Anthill__CoordinatorState *state)
{
    const struct open_book *all[] = {&coordinator->books[0], &coordinator->books[1],
                                     &coordinator->evaluation};
    Anthill__StateBook *books;
    MESSAGES(arena, books, state->books, 3);
    for (size_t i = 0; i < 3; i++) {
        if (!all[i]->open) continue;
        Anthill__StateBook *book = &books[state->n_books++];
        anthill__state_book__init(book);
        book->epoch = all[i]->leases.epoch;
        book->evaluation = all[i] == &coordinator->evaluation;
        book->began_ns = all[i]->began_ns;
        book->done.len = (all[i]->leases.lease_count + 7) / 8;
        book->done.data = arena_alloc(arena, book->done.len);
        lease_book_save(&all[i]->leases, book->done.data);
        book->n_metrics = all[i]->metrics.count;
        book->metrics = metrics_out(arena, &all[i]->metrics);
    }
}

static Anthill__StateEvaluation *evaluation_out(struct arena *arena,
                                                const struct evaluation *evaluation)
{
    if (!evaluation->known) return NULL;
    Anthill__StateEvaluation *out = arena_alloc(arena, sizeof *out);
    anthill__state_evaluation__init(out);
    out->epoch = evaluation->epoch;
    out->checkpoint = evaluation->checkpoint;
    out->n_metrics = evaluation->metrics.count;
    out->metrics = metrics_out(arena, &evaluation->metrics);
    return out;
}

static void sessions_out(struct arena *arena, const struct coordinator *coordinator,
                         Anthill__CoordinatorState *state)
{
    Anthill__StateSession *sessions;
    state->n_sessions = coordinator->session_count;
    MESSAGES(arena, sessions, state->sessions, coordinator->session_count);
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        anthill__state_session__init(&sessions[i]);
        sessions[i].id = session->id;
        sessions[i].name = session->name;
        sessions[i].trains = session->trains;
        sessions[i].presence = (uint32_t)session->presence;
        sessions[i].n_done = session->done_count < DONE_MAX ? session->done_count : DONE_MAX;
        sessions[i].done = (uint64_t *)session->done;
        sessions[i].active = session->active;
        sessions[i].done_next = session->done_count % DONE_MAX;
    }
}

static void threads_out(struct arena *arena, const struct coordinator *coordinator,
                        Anthill__CoordinatorState *state)
{
    Anthill__StateThread *threads;
    state->n_threads = coordinator->shard_count;
    MESSAGES(arena, threads, state->threads, coordinator->shard_count);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct thread_entry *thread = &coordinator->threads[i];
        anthill__state_thread__init(&threads[i]);
        threads[i].incarnation = thread->incarnation;
        threads[i].incarnation_before = thread->incarnation_before;
        threads[i].endpoint = thread->endpoint;
        threads[i].ready = thread->ready;
        threads[i].served = thread->served;
        threads[i].restore_step = thread->restore_step;
    }
}

static void shards_out(struct arena *arena, const struct coordinator *coordinator,
                       Anthill__CoordinatorState *state)
{
    Anthill__StateShard *shards;
    Anthill__StatePart *parts;
    state->n_shards = coordinator->shard_count;
    MESSAGES(arena, shards, state->shards, coordinator->shard_count);
    state->n_parts = coordinator->shard_count;
    MESSAGES(arena, parts, state->parts, coordinator->shard_count);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const struct shard_entry *shard = &coordinator->shards[i];
        anthill__state_shard__init(&shards[i]);
        shards[i].primary = shard->primary;
        shards[i].served = shard->served;
        shards[i].restore_step = shard->restore_step;
        shards[i].backup = shard->backup == THREAD_NONE ? 0 : 1 + shard->backup;
        shards[i].complete = shard->complete;
        shards[i].incarnation = shard->incarnation;
        shards[i].since = shard->since;
        shards[i].primary_since = shard->primary_since;
        shards[i].backup_since = shard->backup_since;
        shards[i].hand_over = shard->hand_over;
        shards[i].failovers = shard->failovers;
        shards[i].silence_ns = shard->silence_ns;
        shards[i].decision_ns = shard->decision_ns;
        anthill__state_part__init(&parts[i]);
        parts[i].reported = shard->report.reported;
        parts[i].bytes = shard->report.bytes;
        parts[i].checksum = shard->report.checksum;
        parts[i].base_step = shard->report.base;
    }
}

static void checkpoint_out(const struct checkpoint_record *record, Anthill__StateCheckpoint *out)
{
    anthill__state_checkpoint__init(out);
    out->step = record->step;
    out->ordered_ns = record->ordered_ns;
    out->reason = (uint32_t)record->reason;
    out->base_step = record->base;
}

static void checkpoints_out(struct arena *arena, const struct coordinator *coordinator,
                            Anthill__CoordinatorState *state)
{
    Anthill__StateCheckpoint *checkpoints;
    state->n_checkpoints = coordinator->checkpoint_count;
    MESSAGES(arena, checkpoints, state->checkpoints, coordinator->checkpoint_count);
    for (uint32_t i = 0; i < coordinator->checkpoint_count; i++)
        checkpoint_out(&coordinator->checkpoints[i], &checkpoints[i]);
    state->checkpoint_next = coordinator->checkpoint_next;
    state->n_damaged_steps = coordinator->damaged_count;
    state->damaged_steps = coordinator->damaged;
    if (coordinator->pending.step == 0) return;
    state->pending = arena_alloc(arena, sizeof *state->pending);
    checkpoint_out(&coordinator->pending, state->pending);
}

static void scalars_out(const struct coordinator *coordinator, Anthill__CoordinatorState *state)
{
    state->server_count = coordinator->options.server_count;
    state->shards_per_server = coordinator->options.shards_per_server;
    state->slot_count = coordinator->options.slot_count;
    state->replicas = coordinator->options.replicas;
    state->session_next = coordinator->session_next;
    state->map_version = coordinator->map_version;
    state->seed_count = coordinator->seed_count;
    state->graph_checksum = coordinator->graph_checksum;
    state->lease_seeds = coordinator->lease_seeds;
    state->phase = (uint32_t)coordinator->phase;
    state->epoch = coordinator->epoch;
    state->evaluations_since_best = coordinator->evaluations_since_best;
    state->started_ns = coordinator->started_ns;
    state->ended_ns = coordinator->ended_ns;
    state->seeds_total = coordinator->seeds_total;
    state->seeds_at_checkpoint = coordinator->seeds_at_checkpoint;
    state->workers_lost = coordinator->workers_lost;
    state->servers_restarted = coordinator->servers_restarted;
    state->checkpoints_failed = coordinator->checkpoints_failed;
    state->status = (uint32_t)coordinator->status;
    if (coordinator->text != NULL) state->text = coordinator->text;
    if (coordinator->lines.data != NULL) state->lines = coordinator->lines.data;
}

void coordinator_state_pack(const struct coordinator *coordinator, uint8_t **data, size_t *bytes)
{
    struct arena *arena = arena_create(1u << 16);
    Anthill__CoordinatorState state = ANTHILL__COORDINATOR_STATE__INIT;
    Anthill__StateLoss loss = ANTHILL__STATE_LOSS__INIT;
    scalars_out(coordinator, &state);
    books_out(arena, coordinator, &state);
    sessions_out(arena, coordinator, &state);
    threads_out(arena, coordinator, &state);
    shards_out(arena, coordinator, &state);
    checkpoints_out(arena, coordinator, &state);
    state.last = evaluation_out(arena, &coordinator->last);
    state.best = evaluation_out(arena, &coordinator->best);
    state.candidate = evaluation_out(arena, &coordinator->candidate);
    loss.known = coordinator->has_loss;
    loss.value = coordinator->loss;
    state.loss = &loss;

    size_t packed = anthill__coordinator_state__get_packed_size(&state);
    uint8_t *out = malloc(STATE_HEADER_BYTES + packed);
    CHECK(out != NULL);
    anthill__coordinator_state__pack(&state, out + STATE_HEADER_BYTES);
    memcpy(out, STATE_MAGIC, sizeof STATE_MAGIC);
    put_le(out + 8, STATE_VERSION, 4);
    put_le(out + 12, 0, 4);
    put_le(out + 16, packed, 8);
    put_le(out + 24, checksum_bytes(out + STATE_HEADER_BYTES, packed), 8);
    arena_destroy(arena);
    *data = out;
    *bytes = STATE_HEADER_BYTES + packed;
}

/* ---- from bytes --------------------------------------------------------------------------------
 */

static enum status header_check(const uint8_t *data, size_t bytes, struct error *error)
{
    if (bytes < STATE_HEADER_BYTES) {
        return error_set(error, STATUS_CORRUPT, "%zu bytes; at least %u are expected", bytes,
                         STATE_HEADER_BYTES);
    }
    if (memcmp(data, STATE_MAGIC, sizeof STATE_MAGIC) != 0)
        return error_set(error, STATUS_CORRUPT, "it does not begin with ANTHCRD1");
    uint64_t version = get_le(data + 8, 4);
    if (version != STATE_VERSION || get_le(data + 12, 4) != 0) {
        return error_set(error, STATUS_CORRUPT, "version %llu; %u is expected",
                         (unsigned long long)version, STATE_VERSION);
    }
    uint64_t length = get_le(data + 16, 8);
    if (length != bytes - STATE_HEADER_BYTES) {
        return error_set(error, STATUS_CORRUPT, "%zu bytes; its header says %llu", bytes,
                         (unsigned long long)length + STATE_HEADER_BYTES);
    }
    uint64_t wanted = get_le(data + 24, 8);
    uint64_t found = checksum_bytes(data + STATE_HEADER_BYTES, length);
    if (wanted != found) {
        return error_set(error, STATUS_CORRUPT, "checksum %016llx; its header says %016llx",
                         (unsigned long long)found, (unsigned long long)wanted);
    }
    return STATUS_OK;
}

static enum status check_options(const Anthill__CoordinatorState *state,
                                 const struct coordinator_options *options, struct error *error)
{
    const struct {
        const char *key;
        uint32_t was, is;
    } fixed[] = {
        {"servers.count", state->server_count, options->server_count},
        {"servers.shards", state->shards_per_server, options->shards_per_server},
        {"servers.slots", state->slot_count, options->slot_count},
        {"servers.replicas", state->replicas, options->replicas},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (fixed[i].was == fixed[i].is) continue;
        return error_set(error, STATUS_CONFIG, "%s is %u, but the run began with %u", fixed[i].key,
                         fixed[i].is, fixed[i].was);
    }
    return STATUS_OK;
}

static enum status scalars_in(struct coordinator *coordinator,
                              const Anthill__CoordinatorState *state, struct error *error)
{
    bool has_books =
        state->n_books > 0 || (state->phase >= PHASE_TRAINING && state->phase < PHASE_STOPPING);
    if (state->phase >= PHASE_ENDED || state->status > STATUS_LAST ||
        (has_books && (state->seed_count == 0 || state->lease_seeds == 0 ||
                       state->seed_count / state->lease_seeds >= LEASE_COUNT_MAX)))
        return error_set(error, STATUS_CORRUPT, "phase %u contradicts the rest", state->phase);
    coordinator->session_next = state->session_next;
    coordinator->map_version = state->map_version;
    coordinator->seed_count = state->seed_count;
    coordinator->graph_checksum = state->graph_checksum;
    coordinator->lease_seeds = state->lease_seeds;
    coordinator->phase = (enum coordinator_phase)state->phase;
    coordinator->epoch = state->epoch;
    coordinator->evaluations_since_best = state->evaluations_since_best;
    coordinator->started_ns = state->started_ns;
    coordinator->ended_ns = state->ended_ns;
    coordinator->seeds_total = state->seeds_total;
    coordinator->seeds_at_checkpoint = state->seeds_at_checkpoint;
    /* When the last one was is not known by this clock. */
    coordinator->checkpoint_due_ns = coordinator->began_ns;
    coordinator->workers_lost = state->workers_lost;
    coordinator->servers_restarted = state->servers_restarted;
    coordinator->checkpoints_failed = state->checkpoints_failed;
    coordinator->status = (enum status)state->status;
    coordinator->text = coordinator_copy(state->text, ERROR_TEXT_BYTES - 1);
    if (*state->lines != '\0') text_add(&coordinator->lines, "%s", state->lines);
    coordinator->has_loss = state->loss != NULL && state->loss->known;
    coordinator->loss = state->loss != NULL ? state->loss->value : 0;
    return STATUS_OK;
}

static enum status books_in(struct coordinator *coordinator, const Anthill__CoordinatorState *state,
                            struct error *error)
{
    for (size_t i = 0; i < state->n_books; i++) {
        const Anthill__StateBook *in = state->books[i];
        uint64_t place = in->epoch - coordinator->epoch;
        if (coordinator->lease_seeds == 0 || place >= (in->evaluation ? 1 : BOOKS))
            return error_set(error, STATUS_CORRUPT, "a lease book of another epoch");
        struct open_book *book =
            in->evaluation ? &coordinator->evaluation : &coordinator->books[place];
        if (in->evaluation) {
            coordinator_leases_open_evaluation(coordinator);
        } else {
            coordinator_leases_open(coordinator, book, in->epoch);
        }
        book->began_ns = in->began_ns;
        if (!lease_book_load(&book->leases, in->done.data, in->done.len))
            return error_set(error, STATUS_CORRUPT, "a lease book of another size");
        enum status status = metric_set_add(&book->metrics, in->metrics, in->n_metrics, error);
        if (status != STATUS_OK) return STATUS_CORRUPT;
    }
    bool trains = coordinator->phase == PHASE_TRAINING && !coordinator->books[0].open;
    bool evaluates = coordinator->phase == PHASE_EVALUATING && !coordinator->evaluation.open;
    if (trains || evaluates)
        return error_set(error, STATUS_CORRUPT, "the lease book of its phase is missing");
    return STATUS_OK;
}

static enum status evaluation_in(struct evaluation *evaluation, const Anthill__StateEvaluation *in,
                                 struct error *error)
{
    if (in == NULL) return STATUS_OK;
    evaluation->known = true;
    evaluation->epoch = in->epoch;
    evaluation->checkpoint = in->checkpoint;
    return metric_set_add(&evaluation->metrics, in->metrics, in->n_metrics, error);
}

static enum status sessions_in(struct coordinator *coordinator,
                               const Anthill__CoordinatorState *state, struct error *error)
{
    uint64_t id_before = 0;
    for (size_t i = 0; i < state->n_sessions; i++) {
        const Anthill__StateSession *in = state->sessions[i];
        if (in->id <= id_before || in->id >= state->session_next || in->n_done > DONE_MAX ||
            in->done_next >= DONE_MAX || in->presence > SESSION_LEFT)
            return error_set(error, STATUS_CORRUPT, "session %llu contradicts the rest",
                             (unsigned long long)in->id);
        id_before = in->id;
        struct session session = {
            .id = in->id,
            .name = coordinator_copy(in->name, SESSION_NAME_MAX),
            .trains = in->trains,
            .presence = (enum session_presence)in->presence,
            .seen_ns = coordinator->began_ns,
            .gone_ns = coordinator->began_ns,
            .active = in->active,
        };
        if (in->n_done > 0) memcpy(session.done, in->done, in->n_done * sizeof *in->done);
        session.done_count = (uint32_t)in->n_done;
        if (in->n_done == DONE_MAX) session.done_count += in->done_next;
        coordinator_sessions_append(coordinator, session);
    }
    return STATUS_OK;
}

static enum status threads_in(struct coordinator *coordinator,
                              const Anthill__CoordinatorState *state, struct error *error)
{
    if (state->n_threads != coordinator->shard_count)
        return error_set(error, STATUS_CORRUPT, "%zu threads; %u are expected", state->n_threads,
                         coordinator->shard_count);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const Anthill__StateThread *in = state->threads[i];
        struct thread_entry *thread = &coordinator->threads[i];
        thread->incarnation = in->incarnation;
        thread->incarnation_before = in->incarnation_before;
        free(thread->endpoint);
        thread->endpoint = coordinator_copy(in->endpoint, ENDPOINT_MAX);
        thread->ready = in->ready;
        thread->served = in->served;
        thread->restore_step = in->restore_step;
        thread->lost_ns = thread->alive_ns = thread->dead_since_ns = coordinator->began_ns;
    }
    return STATUS_OK;
}

/* A backup is on another server, and there is one where it counts as complete. */
static bool roles_make_sense(const struct coordinator *coordinator, const Anthill__StateShard *in)
{
    uint32_t count = coordinator->shard_count;
    if (in->primary >= count || in->backup > count) return false;
    if (in->backup == 0) return !in->complete && !in->hand_over;
    return coordinator->options.replicas > 1 &&
           coordinator->threads[in->backup - 1].server != coordinator->threads[in->primary].server;
}

static enum status shards_in(struct coordinator *coordinator,
                             const Anthill__CoordinatorState *state, struct error *error)
{
    if (state->n_shards != coordinator->shard_count || state->n_parts != coordinator->shard_count)
        return error_set(error, STATUS_CORRUPT, "%zu shards; %u are expected", state->n_shards,
                         coordinator->shard_count);
    for (uint32_t i = 0; i < coordinator->shard_count; i++) {
        const Anthill__StateShard *in = state->shards[i];
        const Anthill__StatePart *part = state->parts[i];
        if (!roles_make_sense(coordinator, in))
            return error_set(error, STATUS_CORRUPT,
                             "shard %u is served by thread %u of %u, with %u for its backup", i,
                             in->primary, coordinator->shard_count, in->backup);
        coordinator->shards[i] = (struct shard_entry){
            .primary = in->primary,
            .backup = in->backup == 0 ? THREAD_NONE : in->backup - 1,
            .complete = in->complete,
            .incarnation = in->incarnation,
            .since = in->since,
            .primary_since = in->primary_since,
            .backup_since = in->backup_since,
            .hand_over = in->hand_over,
            .hand_over_ns = coordinator->began_ns,
            .failovers = in->failovers,
            .silence_ns = in->silence_ns,
            .decision_ns = in->decision_ns,
            .served = in->served,
            .restore_step = in->restore_step,
            .report = {.reported = part->reported,
                       .bytes = part->bytes,
                       .checksum = part->checksum,
                       .base = part->base_step},
        };
    }
    return STATUS_OK;
}

static struct checkpoint_record checkpoint_in(const Anthill__StateCheckpoint *in)
{
    return (struct checkpoint_record){.step = in->step,
                                      .ordered_ns = in->ordered_ns,
                                      .reason = (enum checkpoint_reason)in->reason,
                                      .base = in->base_step};
}

static enum status checkpoints_in(struct coordinator *coordinator,
                                  const Anthill__CoordinatorState *state, struct error *error)
{
    coordinator->checkpoint_next = state->checkpoint_next;
    for (size_t i = 0; i < state->n_checkpoints; i++) {
        coordinator->checkpoints =
            coordinator_grow(coordinator->checkpoints, coordinator->checkpoint_count,
                             &coordinator->checkpoint_capacity, sizeof *coordinator->checkpoints);
        coordinator->checkpoints[coordinator->checkpoint_count++] =
            checkpoint_in(state->checkpoints[i]);
    }
    if (state->n_damaged_steps > 0) {
        size_t bytes = state->n_damaged_steps * sizeof *coordinator->damaged;
        coordinator->damaged = malloc(bytes);
        CHECK(coordinator->damaged != NULL);
        memcpy(coordinator->damaged, state->damaged_steps, bytes);
        coordinator->damaged_count = (uint32_t)state->n_damaged_steps;
    }
    if (state->pending == NULL) return STATUS_OK;
    if (state->pending->reason > REASON_LAST || state->pending->step >= state->checkpoint_next)
        return error_set(error, STATUS_CORRUPT, "pending checkpoint contradicts the rest");
    coordinator->pending = checkpoint_in(state->pending);
    return STATUS_OK;
}

static enum status state_in(struct coordinator *coordinator, const Anthill__CoordinatorState *state,
                            struct error *error)
{
    enum status status = scalars_in(coordinator, state, error);
    if (status == STATUS_OK) status = books_in(coordinator, state, error);
    if (status == STATUS_OK) status = sessions_in(coordinator, state, error);
    if (status == STATUS_OK) status = threads_in(coordinator, state, error);
    if (status == STATUS_OK) status = shards_in(coordinator, state, error);
    if (status == STATUS_OK) status = checkpoints_in(coordinator, state, error);
    if (status == STATUS_OK) status = evaluation_in(&coordinator->last, state->last, error);
    if (status == STATUS_OK) status = evaluation_in(&coordinator->best, state->best, error);
    if (status == STATUS_OK)
        status = evaluation_in(&coordinator->candidate, state->candidate, error);
    return status == STATUS_OK ? STATUS_OK : STATUS_CORRUPT;
}

enum status coordinator_state_unpack(struct coordinator **coordinator_out,
                                     const struct coordinator_options *options, uint64_t now_ns,
                                     const uint8_t *data, size_t bytes, struct error *error)
{
    enum status status = header_check(data, bytes, error);
    if (status != STATUS_OK) return status;
    Anthill__CoordinatorState *state = (Anthill__CoordinatorState *)wire_unpack_bytes(
        &anthill__coordinator_state__descriptor, data + STATE_HEADER_BYTES,
        bytes - STATE_HEADER_BYTES);
    if (state == NULL) return error_set(error, STATUS_CORRUPT, "it is no coordinator's state");
    struct coordinator *coordinator = NULL;
    status = check_options(state, options, error);
    if (status == STATUS_OK) {
        coordinator = coordinator_create(options, now_ns);
        status = state_in(coordinator, state, error);
    }
    anthill__coordinator_state__free_unpacked(state, NULL);
    if (status != STATUS_OK) {
        coordinator_destroy(coordinator);
        return status;
    }
    coordinator_leases_resume(coordinator);
    *coordinator_out = coordinator;
    return STATUS_OK;
}
