/* Requests as they start: each is cut into parts, which wait in their links. */
#include <stdlib.h>

#include "ps/client/client_state.h"

/* A request in the list, without parts; NULL when memory is used up. */
static struct request *request_create(struct client_core *core, enum part_kind kind,
                                      uint64_t *ticket)
{
    *ticket = core->ticket_next++;
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL) return NULL;
    request->ticket = *ticket;
    request->kind = kind;
    request->next = core->requests;
    if (core->requests != NULL) core->requests->previous = request;
    core->requests = request;
    return request;
}

/* `caller` has what is the caller's: rows, grads, versions, deleted. */
static enum status request_start(struct client_core *core, struct part *model,
                                 const struct request *caller, const uint64_t *keys,
                                 uint32_t key_count, uint64_t *ticket, struct error *error)
{
    if (core->options.trains && !model->read_only) {
        client_session_enter(core);
        model->clock = core->clock;
        model->awaits_entry = core->trainer == TRAINER_ENTERING;
    }
    struct request *request = request_create(core, model->kind, ticket);
    if (request == NULL) return error_set(error, STATUS_NOMEM, "no memory for a request");
    request->layout = core->layouts[model->table];
    request->rows = caller->rows;
    request->deleted = caller->deleted;
    request->grads = caller->grads;
    request->versions = caller->versions;
    request->encoding = model->encoding;
    enum status status =
        request_cut(request, &core->cut, &core->shared.pool, model, keys, key_count, error);
    if (status != STATUS_OK || request->parts_left == 0) client_core_request_free(core, request);
    return status;
}

static enum status check_table(const struct client_core *core, uint32_t table, bool dense,
                               struct error *error)
{
    if (table < core->shared.table_count && dense == (core->layouts[table]->dim == 0)) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID, "there is no %s table of number %u",
                     dense ? "dense" : "sparse", table);
}

enum status client_core_pull(struct client_core *core, uint32_t table, const uint64_t *keys,
                             uint32_t key_count, float *rows, bool read_only, uint64_t *ticket,
                             struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PULL,
                         .table = table,
                         .encoding = core->layouts[table]->encoding,
                         .read_only = read_only};
    return request_start(core, &model, &(struct request){.rows = rows}, keys, key_count, ticket,
                         error);
}

enum status client_core_pull_newer(struct client_core *core, uint32_t table, const uint64_t *keys,
                                   uint32_t key_count, uint32_t behind, float *rows,
                                   uint32_t *versions, bool read_only, uint64_t *ticket,
                                   struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PULL,
                         .table = table,
                         .encoding = core->layouts[table]->encoding,
                         .read_only = read_only,
                         .conditional = true,
                         .behind = behind,
                         .restarts = core->shared.restarts};
    const struct request caller = {.rows = rows, .versions = versions};
    return request_start(core, &model, &caller, keys, key_count, ticket, error);
}

uint64_t client_core_restarts(const struct client_core *core)
{
    return core->shared.restarts;
}

enum status client_core_push(struct client_core *core, uint32_t table, const uint64_t *keys,
                             uint32_t key_count, const float *grads, float rate_scale,
                             uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PUSH,
                         .table = table,
                         .encoding = core->layouts[table]->encoding,
                         .rate_scale = rate_scale};
    return request_start(core, &model, &(struct request){.grads = grads}, keys, key_count, ticket,
                         error);
}

enum status client_core_assign(struct client_core *core, uint32_t table, const uint64_t *keys,
                               uint32_t key_count, const float *values, uint64_t *ticket,
                               struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_ASSIGN, .table = table, .read_only = true};
    return request_start(core, &model, &(struct request){.grads = values}, keys, key_count, ticket,
                         error);
}

enum status client_core_delete(struct client_core *core, uint32_t table, const uint64_t *keys,
                               uint32_t key_count, uint64_t *deleted, uint64_t *ticket,
                               struct error *error)
{
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_DELETE, .table = table, .read_only = true};
    return request_start(core, &model, &(struct request){.deleted = deleted}, keys, key_count,
                         ticket, error);
}

/* A request that is a single message to `link`, whose part is to be filled in and added. */
static struct part *start_one(struct client_core *core, enum part_kind kind, uint32_t link,
                              struct request **request, uint64_t *ticket)
{
    *request = request_create(core, kind, ticket);
    if (*request == NULL) return NULL;
    (*request)->parts_left = 1;
    struct part *part = part_pool_take(&core->shared.pool);
    part->kind = kind;
    part->request = *request;
    part->link = link;
    return part;
}

enum status client_core_describe(struct client_core *core, uint32_t shard, const char *name,
                                 Anthill__DescribeReply **description, uint64_t *ticket,
                                 struct error *error)
{
    *description = NULL;
    struct request *request;
    struct part *part = start_one(core, PART_DESCRIBE, shard, &request, ticket);
    if (part == NULL) return error_set(error, STATUS_NOMEM, "no memory for a request");
    request->description = description;
    part->name = name;
    client_link_add(&core->links[shard], part);
    return STATUS_OK;
}

enum status client_core_scan(struct client_core *core, uint32_t table, struct client_scan *scan,
                             uint64_t *keys, uint32_t keys_max, uint32_t *count, uint64_t *ticket,
                             struct error *error)
{
    *count = 0;
    enum status status = check_table(core, table, false, error);
    if (status != STATUS_OK) return status;
    if (scan->shard >= core->cut.link_count) {
        return error_set(error, STATUS_INVALID, "scan of table %s: shard %u of %u",
                         core->shared.tables[table]->name, scan->shard, core->cut.link_count);
    }
    struct request *request;
    struct part *part = start_one(core, PART_SCAN, scan->shard, &request, ticket);
    if (part == NULL) return error_set(error, STATUS_NOMEM, "no memory for a request");
    request->scan = scan;
    request->scan_keys = keys;
    request->scan_count = count;
    part->table = table;
    part->cursor = scan->cursor;
    part->key_count = keys_max;
    client_link_add(&core->links[part->link], part);
    return STATUS_OK;
}

enum status client_core_pull_dense(struct client_core *core, uint32_t table, float *values,
                                   uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, true, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PULL, .table = table};
    const struct table_layout *layout = core->layouts[table];
    return request_start(core, &model, &(struct request){.rows = values}, layout->keys,
                         layout->chunk_count, ticket, error);
}

enum status client_core_push_dense(struct client_core *core, uint32_t table, const float *grads,
                                   float rate_scale, uint64_t *ticket, struct error *error)
{
    enum status status = check_table(core, table, true, error);
    if (status != STATUS_OK) return status;
    struct part model = {.kind = PART_PUSH, .table = table, .rate_scale = rate_scale};
    const struct table_layout *layout = core->layouts[table];
    return request_start(core, &model, &(struct request){.grads = grads}, layout->keys,
                         layout->chunk_count, ticket, error);
}
