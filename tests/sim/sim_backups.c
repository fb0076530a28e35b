/* What backups must be, and what of a shard may be lost: nothing that a client was told is done,
 * while a process lives that has it all. Which processes have to is in the coordinator's state as
 * it is on disk: the primary, and its backup if that is complete. A shard that begins from a
 * checkpoint may do so when both are dead. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/change_log.h"
#include "ps/shard_state.h"
#include "tests/sim/sim_model.h"
#include "tests/sim/sim_wrap.h"
/* ---- streams -------------------------------------------------------------------------------- */

/* The last states of each shard's streams. The memory is kept from run to run. */
static struct shipped *ring[SHARDS_MAX][SHIPPED];

/* The newest of them, or so many before it; NULL: none. */
static const struct shipped *shipped_before(uint32_t index, uint32_t count)
{
    uint32_t shipped = world.lineages[index].shipped;
    return count < shipped && count < SHIPPED ? ring[index][(shipped - 1 - count) % SHIPPED] : NULL;
}

/* Few clocks are open. */
static void copy_state(struct state *to, const struct state *from)
{
    memcpy(to, from, offsetof(struct state, open) + from->open_count * sizeof *from->open);
}

/* The state of the primary as it is at the end of its stream's change `index`. */
static void keep_shipped(const struct model *model, uint64_t index)
{
    struct lineage *lineage = lineage_of(model);
    const struct shipped *last = shipped_before(model->index, 0);
    uint64_t primary = model->log->primary_incarnation;
    bool again = last != NULL && last->primary == primary && last->stream == model->log->stream &&
                 last->index == index;
    if (again) return;
    struct shipped **place = &ring[model->index][lineage->shipped++ % SHIPPED];
    if (*place == NULL) *place = malloc(sizeof **place);
    CHECK(*place != NULL);
    (*place)->primary = primary;
    (*place)->stream = model->log->stream;
    (*place)->index = index;
    copy_state(&(*place)->state, &model->state);
    sim_trace(sim.current, "ships", model->index, model->log->stream, index);
}

void __wrap_shard_log_changes(struct shard *shard, struct change_log *log)
{
    struct model *model = model_find(shard);
    __real_shard_log_changes(shard, log);
    model->log = log;
    if (log != NULL) keep_shipped(model, 0);
}

uint64_t __wrap_shard_log_close(struct shard *shard)
{
    uint64_t index = __real_shard_log_close(shard);
    struct model *model = model_find(shard);
    if (model->log != NULL) keep_shipped(model, index);
    return index;
}

enum status __wrap_shard_take_changes(struct shard *shard, const struct message *message,
                                      struct error *error)
{
    enum status status = __real_shard_take_changes(shard, message, error);
    struct model *model = model_find(shard);
    if (status != STATUS_OK) sim_fail("a backup cannot take a change: %s", error->text);
    model->primary = message->envelope->replicate->primary_incarnation;
    model->stream = message->envelope->replicate->stream;
    model->taken = message->envelope->replicate->index;
    return status;
}

/* The newest state of the stream that the backup has whole. */
static const struct shipped *find_shipped(const struct model *model)
{
    const struct shipped *one, *found = NULL;
    for (uint32_t i = 0; (one = shipped_before(model->index, i)) != NULL; i++) {
        if (one->primary != model->primary || one->stream != model->stream ||
            one->index > model->taken) {
            continue;
        }
        if (found == NULL || one->index > found->index) found = one;
    }
    return found;
}

/* ---- who has all that is acknowledged ------------------------------------------------------- */

static bool is_up(uint64_t incarnation)
{
    for (uint32_t i = 0; incarnation != 0 && i < INSTANCES_MAX; i++) {
        const struct model *model = &world.models[i];
        if (model->shard != NULL && model->incarnation == incarnation) return true;
    }
    return false;
}

/* What the process has of the shard; NULL: nothing. */
static const struct state *state_of(uint32_t index, uint64_t incarnation)
{
    for (uint32_t i = 0; i < INSTANCES_MAX; i++) {
        const struct model *model = &world.models[i];
        if (model->shard == NULL || model->index != index || model->incarnation != incarnation)
            continue;
        if (model->stream == 0) return &model->state;
        const struct shipped *shipped = find_shipped(model);
        return shipped != NULL ? &shipped->state : NULL;
    }
    return NULL;
}

void model_saved(uint32_t index, const struct saved_roles *roles)
{
    struct saved_roles *before = &world.lineages[index].roles;
    bool same = roles->primary == before->primary;
    if (!same && roles->primary != before->backup &&
        (is_up(before->primary) || is_up(before->backup)))
        sim_fail("shard %u: the coordinator takes a process for primary that has not got it all, "
                 "while one lives that has",
                 index);
    if (same && before->primary_gone && roles->backup != before->backup && is_up(before->backup))
        sim_fail("shard %u: the coordinator gives up a complete backup, which lives, and the "
                 "primary is gone",
                 index);
    *before = *roles;
}

/* A shard begins from a checkpoint, or with nothing. */
static void check_loss(const struct model *model)
{
    const struct saved_roles *roles = &lineage_of(model)->roles;
    if (is_up(roles->primary) || is_up(roles->backup))
        sim_fail("shard %u begins from a checkpoint while its %s lives, which has all that is "
                 "acknowledged",
                 model->index, is_up(roles->backup) ? "backup" : "primary");
}

static void check_holder(uint32_t index, uint64_t incarnation, const char *role,
                         const Anthill__Envelope *request)
{
    if (!is_up(incarnation)) return;
    struct state *state = (struct state *)state_of(index, incarnation);
    uint8_t mask;
    if (state != NULL && (*model_sequence(state->now.taken, request, &mask) & mask) != 0) return;
    sim_fail("shard %u: session %" PRIu64 " is told that its sequence %" PRIu64
             " is done, which the shard's %s does not have",
             index, request->session, request->sequence, role);
}

/* No answer has left for what the new primary does not know. */
static void check_acked(const struct model *model)
{
    const struct lineage *lineage = lineage_of(model);
    for (uint32_t session = 0; session < SESSIONS_MAX_; session++) {
        for (uint32_t i = 0; i < SEQUENCES / 8; i++) {
            unsigned lost = lineage->acked[session][i] & ~model->state.now.taken[session][i] & 0xff;
            if (lost == 0) continue;
            sim_fail("shard %u: the backup takes over without what session %u was told is done, "
                     "sequence %u",
                     model->index, session, 8 * i + (unsigned)__builtin_ctz(lost));
        }
    }
}

static void take_over(struct model *model)
{
    if (model->stream != 0) {
        const struct shipped *shipped = find_shipped(model);
        if (shipped == NULL) sim_fail("shard %u: a backup without a state", model->index);
        copy_state(&model->state, &shipped->state);
    }
    model_find_min(model);
    check_acked(model);
    sim_trace(sim.current, "takes over", model->index, model->stream, model->taken);
}

void __wrap_shard_set_copy(struct shard *shard, bool copy, struct outbox *outbox)
{
    struct model *model = model_find(shard);
    unsigned before = outbox->count;
    /* One that was the primary until it handed over, and has taken nothing since, has its own. */
    bool promoted =
        !copy && (model->stream != 0 || lineage_of(model)->roles.primary == model->incarnation);
    if (promoted) {
        take_over(model);
    } else if (copy) {
        model_forget_pulls(model);
    } else { /* what was answered after the checkpoint is lost */
        check_loss(model);
        memcpy(lineage_of(model)->acked, model->state.now.taken, sizeof model->state.now.taken);
    }
    __real_shard_set_copy(shard, copy, outbox);
    if (!copy) model_hear_replies(model, NULL, outbox, before);
    if (promoted) model_check(shard, "promoted");
    model->stream = model->taken = 0;
}

void model_replied(const struct message *reply)
{
    struct message seen = model_look(reply);
    uint64_t peer = seen.peer, request = seen.envelope->request;
    bool failed = seen.envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR;
    wire_message_deinit(&seen);
    for (uint32_t i = 0; i < sim.shards * ASKED && !failed; i++) {
        struct lineage *lineage = &world.lineages[i / ASKED];
        const struct asked *asked = &lineage->asked[i % ASKED];
        if (asked->peer != peer || asked->request != request) continue;
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        envelope.session = asked->session;
        envelope.sequence = asked->sequence;
        (void)model_take(lineage->acked, &envelope);
        check_holder(i / ASKED, lineage->roles.primary, "primary", &envelope);
        check_holder(i / ASKED, lineage->roles.backup, "complete backup", &envelope);
        return;
    }
}

void model_check_backup(const struct shard *primary)
{
    const struct model *model = model_find(primary);
    for (uint32_t i = 0; i < INSTANCES_MAX; i++) {
        const struct model *other = &world.models[i];
        if (other->shard == NULL || other == model || other->index != model->index) continue;
        if (model->log == NULL || other->stream != model->log->stream ||
            other->primary != model->log->primary_incarnation) {
            continue;
        }
        if (other->taken != model->log->next_index - 1) continue;
        if (shard_checksum(primary) != shard_checksum(other->shard))
            sim_fail("shard %u and its backup differ after change %" PRIu64, model->index,
                     other->taken);
    }
}
