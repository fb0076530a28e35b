/* The coordinator's decisions about primaries and backups under random deaths, silences, restarts
 * and late messages, its own included. The servers' threads are a model of what the shard's side
 * does: a push is acknowledged by a primary alone where the map allows that, else when the backup
 * has it, too. What is checked after each event:
 *   - nothing that was acknowledged is missing at whoever acknowledges next, unless the shard was
 *     restored from a checkpoint, which is right only when no thread had it all;
 *   - a version of the map says the same to everybody who hears it, and versions never go back;
 *   - no two threads believe under one version that they are a shard's primary.
 * And at the end, when all live: every shard is at home, and its backup complete. */
#include "coordinator_fixture.h"

#include "common/rng.h"

enum { THREADS_MAX = 6, NONE = UINT32_MAX, VERSIONS_MAX = 8192, LATE_MAX = 64 };

/* A shard as one thread has it. */
struct copy {
    bool has;
    bool claimed;   /* primary: it has said that the backup has it all, and waits for it since */
    bool drained;   /* until a later map */
    uint64_t count; /* pushes applied */
    uint64_t from;  /* backup: incarnation of the primary that it copies; 0: nothing yet */
    bool all;       /* backup: it has all of that one's */
};

struct view {
    uint32_t primary, backup;
    uint64_t incarnation, backup_incarnation;
    bool complete;
};

struct map {
    uint64_t version;
    struct view shards[THREADS_MAX];
};

struct thread {
    bool alive, silent, ready;
    uint64_t incarnation;
    struct map map;
    struct copy copies[THREADS_MAX];
    bool hand_over[THREADS_MAX];
    uint64_t due_ns, back_ns, deaf_ns; /* it hears nothing until then */
};

/* A message to the coordinator that is on its way. */
struct late {
    uint32_t thread;
    struct message message;
};

struct model {
    struct fixture *fixture;
    struct rng rng;
    uint32_t servers, per_server, count;
    uint32_t loss_percent, late_percent; /* of orders; of heartbeats */
    struct thread threads[THREADS_MAX];
    uint64_t acknowledged[THREADS_MAX], acknowledgements, restores, failovers, moves;
    struct map seen[VERSIONS_MAX];
    uint64_t version;
    struct late late[LATE_MAX];
    uint32_t late_count;
};

static uint64_t running_seed; /* 0: none */

static bool chance(struct model *model, uint32_t of)
{
    return rng_below(&model->rng, of) == 0;
}

/* ---- maps ---------------------------------------------------------------------------------------
 */

static struct map read_map(const Anthill__SlotMap *message)
{
    struct map map;
    memset(&map, 0, sizeof map);
    map.version = message->version;
    for (size_t i = 0; i < message->n_shards; i++) {
        const Anthill__ShardEntry *entry = message->shards[i];
        map.shards[i].primary = entry->primary;
        map.shards[i].backup = entry->backup - 1;
        map.shards[i].incarnation = entry->incarnation;
        map.shards[i].backup_incarnation = entry->backup_incarnation;
        map.shards[i].complete = entry->backup_complete;
        assert_true(entry->backup != 0 || !entry->backup_complete);
    }
    return map;
}

/* `order`: of one to restore, whose map may name processes that are not ready. */
static void check_map(struct model *model, const struct map *map)
{
    assert_true(map->version < VERSIONS_MAX);
    if (map->version > model->version) model->version = map->version;
    struct map *seen = &model->seen[map->version];
    for (uint32_t i = 0; i < model->count; i++) {
        const struct view *view = &map->shards[i];
        assert_true(view->primary < model->count);
        if (view->backup != NONE) {
            assert_true(view->backup < model->count);
            assert_true(view->backup / model->per_server != view->primary / model->per_server);
        }
        if (seen->version == 0) continue;
        assert_int_equal(seen->shards[i].primary, view->primary);
        assert_int_equal(seen->shards[i].backup, view->backup);
        assert_int_equal(seen->shards[i].complete, view->complete);
    }
    *seen = *map;
}

/* What becomes of a shard in a thread that hears of a new map. */
static void take_role(struct model *model, struct thread *thread, uint32_t index, uint32_t shard,
                      const struct view *before, const struct view *now)
{
    struct copy *copy = &thread->copies[shard];
    bool was_primary = before->primary == index && before->incarnation == thread->incarnation;
    if (now->primary == index) {
        if (was_primary && !copy->has) fail_msg("a primary without its rows");
        bool same = before->backup == now->backup && was_primary &&
                    before->backup_incarnation == now->backup_incarnation;
        if (!was_primary) {
            /* Only one that has everything is made the primary. */
            assert_true(copy->has && copy->all);
            model->failovers++;
        }
        if (!same || (before->complete && !now->complete)) copy->claimed = now->complete;
        copy->drained = false;
        copy->has = true;
    } else if (now->backup == index && now->backup_incarnation == thread->incarnation) {
        bool changed_places = was_primary && now->complete;
        bool goes_on = before->backup == index && before->primary == now->primary &&
                       before->incarnation == now->incarnation && copy->has;
        if (changed_places) {
            assert_true(copy->drained); /* else the two may have gone different ways */
            copy->from = now->incarnation;
            copy->all = true;
            model->moves++;
        } else if (!goes_on) {
            *copy = (struct copy){.has = true};
        }
    } else {
        *copy = (struct copy){0};
    }
}

static void take_map(struct model *model, uint32_t index, const struct map *map)
{
    struct thread *thread = &model->threads[index];
    check_map(model, map);
    if (map->version <= thread->map.version) return;
    for (uint32_t i = 0; i < model->count; i++)
        take_role(model, thread, index, i, &thread->map.shards[i], &map->shards[i]);
    thread->map = *map;
}

/* ---- threads ------------------------------------------------------------------------------------
 */

static void send(struct model *model, uint32_t index, Anthill__Envelope *envelope, bool late)
{
    struct fixture *fixture = model->fixture;
    envelope->map_version = model->threads[index].map.version;
    envelope->request = ++fixture->request;
    struct message message;
    assert_int_equal(wire_pack(&message, 100 + index, envelope, NULL, 0), STATUS_OK);
    assert_int_equal(wire_unpack(&message, NULL), STATUS_OK);
    if (late && model->late_count < LATE_MAX) {
        model->late[model->late_count++] = (struct late){index, message};
        return;
    }
    coordinator_handle(fixture->coordinator, fixture->now_ns, &message, &fixture->outbox,
                       &fixture->effects);
    wire_message_deinit(&message);
    fixture_turn(fixture);
}

static void register_thread(struct model *model, uint32_t index, bool late)
{
    struct thread *thread = &model->threads[index];
    char endpoint[32];
    snprintf(endpoint, sizeof endpoint, "ipc://%u", index);
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = index / model->per_server;
    body.shard = index % model->per_server;
    body.incarnation = thread->incarnation;
    body.endpoint = endpoint;
    body.ready = thread->ready;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    send(model, index, &envelope, late);
}

static void beat(struct model *model, uint32_t index, bool late)
{
    struct thread *thread = &model->threads[index];
    Anthill__ReplicaState states[THREADS_MAX], *pointers[THREADS_MAX];
    Anthill__ShardHeartbeat body = ANTHILL__SHARD_HEARTBEAT__INIT;
    body.server = index / model->per_server;
    body.shard = index % model->per_server;
    body.incarnation = thread->incarnation;
    body.replicas = pointers;
    for (uint32_t i = 0; i < model->count; i++) {
        const struct view *view = &thread->map.shards[i];
        if (thread->map.version == 0 || view->primary != index) continue;
        Anthill__ReplicaState *state = &states[body.n_replicas];
        anthill__replica_state__init(state);
        state->shard = i;
        state->primary = true;
        state->backup_complete = thread->copies[i].claimed;
        state->backup_incarnation = view->backup_incarnation;
        state->drained = thread->copies[i].drained;
        pointers[body.n_replicas++] = state;
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT;
    envelope.shard_heartbeat = &body;
    send(model, index, &envelope, late);
}

/* The thread loads the checkpoint: of each shard that it serves. Right only where nobody has it. */
static void restore(struct model *model, uint32_t index, const struct map *map)
{
    struct thread *thread = &model->threads[index];
    for (uint32_t i = 0; i < model->count; i++) {
        if (map->shards[i].primary != index) continue;
        for (uint32_t other = 0; other < model->count; other++) {
            const struct copy *copy = &model->threads[other].copies[i];
            bool complete = map->shards[i].backup == other && map->shards[i].complete;
            if (complete && copy->has && copy->all && model->threads[other].alive)
                fail_msg("shard %u is restored, and thread %u has it all", i, other);
        }
        model->restores += model->acknowledged[i] > 0;
        model->acknowledged[i] = 0;
        thread->copies[i] = (struct copy){.has = true};
        thread->map.shards[i].primary = index;
        thread->map.shards[i].incarnation = thread->incarnation;
    }
    thread->ready = true;
    register_thread(model, index, false);
}

static void hear(struct model *model, uint32_t index, const Anthill__ShardOrder *order)
{
    struct thread *thread = &model->threads[index];
    if (order->restore && !thread->ready) {
        struct map map = read_map(order->map);
        restore(model, index, &map);
        return;
    }
    if (!thread->ready) return;
    if (order->map != NULL) {
        struct map map = read_map(order->map);
        take_map(model, index, &map);
    }
    memset(thread->hand_over, 0, sizeof thread->hand_over);
    for (size_t i = 0; i < order->n_hand_over; i++)
        thread->hand_over[order->hand_over[i]] = true;
}

/* Everything that the coordinator has sent arrives, or is lost. */
static void deliver(struct model *model, bool lossy)
{
    struct outbox taken = model->fixture->outbox;
    model->fixture->outbox = (struct outbox){0};
    for (unsigned i = 0; i < taken.count; i++) {
        struct message *message = &taken.messages[i];
        uint64_t index = message->peer - 100;
        bool lost = index >= model->count || !model->threads[index].alive ||
                    model->threads[index].silent ||
                    (lossy && rng_below(&model->rng, 100) < model->loss_percent) ||
                    model->fixture->now_ns < model->threads[index].deaf_ns;
        if (lost) continue;
        assert_int_equal(wire_unpack(message, NULL), STATUS_OK);
        if (message->envelope->body_case == ANTHILL__ENVELOPE__BODY_SHARD_ORDER)
            hear(model, (uint32_t)index, message->envelope->shard_order);
        else if (message->envelope->error->status == STATUS_NOT_FOUND)
            register_thread(model, (uint32_t)index, false);
    }
    outbox_deinit(&taken);
}

/* ---- pushes and copying -------------------------------------------------------------------------
 */

/* The backup of a shard as its primary sees it, when it is there and agrees. */
static struct copy *reach_backup(struct model *model, uint32_t index, uint32_t shard)
{
    struct thread *thread = &model->threads[index];
    const struct view *view = &thread->map.shards[shard];
    if (view->backup == NONE) return NULL;
    struct thread *backup = &model->threads[view->backup];
    const struct view *its = &backup->map.shards[shard];
    bool agrees = backup->alive && !backup->silent && backup->ready &&
                  backup->incarnation == view->backup_incarnation && its->backup == view->backup &&
                  its->primary == index && its->incarnation == thread->incarnation;
    return agrees ? &backup->copies[shard] : NULL;
}

static bool serves(const struct model *model, uint32_t index, uint32_t shard)
{
    const struct thread *thread = &model->threads[index];
    return thread->alive && !thread->silent && thread->ready && thread->map.version != 0 &&
           thread->map.shards[shard].primary == index && thread->copies[shard].has;
}

static void copy_step(struct model *model, uint32_t index, uint32_t shard)
{
    struct copy *copy = &model->threads[index].copies[shard];
    struct copy *backup = reach_backup(model, index, shard);
    if (backup == NULL) return;
    backup->count = copy->count;
    backup->from = model->threads[index].incarnation;
    backup->all = true;
    copy->claimed = true;
    if (model->threads[index].hand_over[shard]) copy->drained = true;
}

static void push(struct model *model, uint32_t index, uint32_t shard)
{
    struct thread *thread = &model->threads[index];
    struct copy *copy = &thread->copies[shard];
    if (copy->drained) return;
    copy->count++;
    bool alone = thread->map.shards[shard].backup == NONE || !copy->claimed;
    struct copy *backup = reach_backup(model, index, shard);
    if (!alone && (backup == NULL || !backup->all)) return; /* not answered, and sent again later */
    if (!alone) backup->count = copy->count;
    if (alone && backup != NULL && backup->all) backup->all = false; /* it has fallen behind */
    model->acknowledged[shard]++;
    model->acknowledgements++;
    if (copy->count < model->acknowledged[shard])
        fail_msg("thread %u has %u pushes of shard %u, and %u were acknowledged", index,
                 (unsigned)copy->count, shard, (unsigned)model->acknowledged[shard]);
}

/* Two may believe that they serve a shard, but not under one version of the map. */
static void check_primaries(struct model *model)
{
    for (uint32_t shard = 0; shard < model->count; shard++) {
        for (uint32_t i = 0; i < model->count; i++) {
            for (uint32_t k = i + 1; k < model->count; k++) {
                bool both = serves(model, i, shard) && serves(model, k, shard);
                if (both)
                    assert_true(model->threads[i].map.version != model->threads[k].map.version);
            }
        }
    }
}

/* ---- events -------------------------------------------------------------------------------------
 */

static void start_process(struct model *model, uint32_t index)
{
    struct thread *thread = &model->threads[index];
    uint64_t incarnation = thread->incarnation + 100;
    *thread = (struct thread){.alive = true, .incarnation = incarnation};
    thread->due_ns = model->fixture->now_ns;
}

static void each_server(struct model *model, uint32_t server, void (*act)(struct model *, uint32_t))
{
    for (uint32_t i = 0; i < model->per_server; i++)
        act(model, server * model->per_server + i);
}

static void kill_thread(struct model *model, uint32_t index)
{
    struct thread *thread = &model->threads[index];
    thread->alive = false;
    thread->ready = false;
    memset(thread->copies, 0, sizeof thread->copies);
    thread->back_ns = model->fixture->now_ns + rng_below(&model->rng, 8000) * MS;
}

static void silence_thread(struct model *model, uint32_t index)
{
    struct thread *thread = &model->threads[index];
    thread->silent = true;
    thread->back_ns = model->fixture->now_ns + rng_below(&model->rng, 8000) * MS;
}

static void fault(struct model *model)
{
    uint32_t server = (uint32_t)rng_below(&model->rng, model->servers);
    uint64_t kind = rng_below(&model->rng, 6);
    if (kind < 2) each_server(model, server, kill_thread);
    if (kind == 2) each_server(model, server, silence_thread);
    if (kind == 3) silence_thread(model, (uint32_t)rng_below(&model->rng, model->count));
    if (kind == 4) fixture_restart_and_tick(model->fixture);
    if (kind == 5) {
        struct thread *thread = &model->threads[rng_below(&model->rng, model->count)];
        thread->deaf_ns = model->fixture->now_ns + rng_below(&model->rng, 8000) * MS;
    }
}

static void late_messages(struct model *model)
{
    while (model->late_count > 0 && chance(model, 4)) {
        uint32_t at = (uint32_t)rng_below(&model->rng, model->late_count);
        struct message message = model->late[at].message;
        model->late[at] = model->late[--model->late_count];
        struct fixture *fixture = model->fixture;
        coordinator_handle(fixture->coordinator, fixture->now_ns, &message, &fixture->outbox,
                           &fixture->effects);
        wire_message_deinit(&message);
        fixture_turn(fixture);
    }
}

static void thread_step(struct model *model, uint32_t index, bool faults)
{
    struct thread *thread = &model->threads[index];
    uint64_t now_ns = model->fixture->now_ns;
    if (!thread->alive && now_ns >= thread->back_ns) start_process(model, index);
    if (thread->silent && now_ns >= thread->back_ns) thread->silent = false;
    if (!thread->alive || thread->silent || now_ns < thread->due_ns) return;
    thread->due_ns = now_ns + S;
    bool late = faults && rng_below(&model->rng, 100) < model->late_percent;
    if (!thread->ready) {
        register_thread(model, index, false);
    } else {
        beat(model, index, late);
    }
}

static void step(struct model *model, bool faults)
{
    struct fixture *fixture = model->fixture;
    if (faults && chance(model, 40)) fault(model);
    for (uint32_t i = 0; i < model->count; i++)
        thread_step(model, i, faults);
    late_messages(model);
    fixture_tick(fixture, 100 * MS);
    deliver(model, faults);
    for (uint32_t shard = 0; shard < model->count; shard++) {
        for (uint32_t i = 0; i < model->count; i++) {
            if (!serves(model, i, shard)) continue;
            if (chance(model, 2)) push(model, i, shard);
            if (chance(model, 4)) copy_step(model, i, shard);
        }
    }
    check_primaries(model);
    assert_false(fixture->ended);
}

/* Every shard at home, its backup complete, in the map that the primary has. */
static bool settled(const struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        if (!model->threads[i].ready) return false;
        const struct view *view = &model->threads[i].map.shards[i];
        bool home = model->servers > 2 || view->primary == i;
        const struct thread *primary = &model->threads[view->primary];
        if (!home || !primary->map.shards[i].complete) return false;
    }
    return true;
}

static void run(struct model *model, uint64_t seed, uint32_t servers, uint32_t per_server)
{
    *model = (struct model){.rng = rng_make(rng_key(5, seed)),
                            .servers = servers,
                            .per_server = per_server,
                            .count = servers * per_server};
    model->loss_percent = (uint32_t)rng_below(&model->rng, 80);
    model->late_percent = (uint32_t)rng_below(&model->rng, 60);
    struct coordinator_options options = fixture_options();
    options.server_count = servers;
    options.shards_per_server = per_server;
    options.replicas = 2;
    options.dead_ns = 3 * S;
    options.timeout_ns = 3600 * S;
    struct fixture fixture;
    fixture_init(&fixture, &options);
    model->fixture = &fixture;
    for (uint32_t i = 0; i < model->count; i++)
        start_process(model, i);
    for (unsigned i = 0; i < 600; i++)
        step(model, true);
    for (uint32_t i = 0; i < model->count; i++)
        model->threads[i].back_ns = 0;
    unsigned steps = 0;
    while (steps < 1200 && !settled(model)) {
        step(model, false);
        steps++;
    }
    if (steps == 1200) fail_msg("after 120 s without faults not every shard is safe");
    for (uint32_t i = 0; i < model->late_count; i++)
        wire_message_deinit(&model->late[i].message);
    fixture_deinit(&fixture);
}

static void random_deaths_lose_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    static struct model model;
    const char *only = getenv("ANTHILL_TEST_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : 400;
    uint64_t failovers = 0, restores = 0, moves = 0, acknowledgements = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        uint32_t servers = 2 + seed % 2, per_server = 1 + seed / 2 % 2;
        running_seed = seed;
        run(&model, seed, servers, per_server);
        failovers += model.failovers;
        restores += model.restores;
        moves += model.moves;
        acknowledgements += model.acknowledgements;
    }
    running_seed = 0;
    print_message("%u failovers, %u moves, %u restores, %u acknowledgements\n", (unsigned)failovers,
                  (unsigned)moves, (unsigned)restores, (unsigned)acknowledgements);
    if (only == NULL) assert_true(failovers > 1000 && moves > 500 && restores > 50);
}

static int name_seed(void **state)
{
    (void)state;
    if (running_seed != 0) print_message("ANTHILL_TEST_SEED=%u fails\n", (unsigned)running_seed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(random_deaths_lose_nothing_that_was_acknowledged, name_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
