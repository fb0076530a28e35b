/* Knowledge graphs: rows of head, relation and tail. Entities are nodes, relations edge types, and
 * which file a row comes from is the edge's split. An edge goes from head to tail. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "graph/importers/import_job.h"

enum { HEAD, RELATION, TAIL, COLUMNS };

/* Names or numbers: the first head that is read decides, unless it was said. */
static enum status names_decide(const struct import_job *job, const char *path, bool *names,
                                struct error *error)
{
    struct table_reader *reader = NULL;
    struct table_row row;
    uint64_t number;
    bool overflow = false;
    *names = job->ids == IMPORT_IDS_NAME;
    if (job->ids != IMPORT_IDS_AUTO || path == NULL) return STATUS_OK;
    enum status status = table_reader_open(&reader, path, '\t', error);
    if (status == STATUS_OK) status = table_reader_next(reader, &row, error);
    if (status == STATUS_OK && row.count == COLUMNS) {
        *names = (!parse_u64(&row.fields[HEAD], &number, &overflow) && !overflow) ||
                 (!parse_u64(&row.fields[TAIL], &number, &overflow) && !overflow);
    }
    table_reader_close(reader);
    return status;
}

static enum status triple_add(struct import_job *job, struct graph_builder *builder,
                              struct table_reader *reader, const struct table_row *row,
                              enum graph_split split, struct error *error)
{
    struct node_index *nodes = graph_builder_nodes(builder);
    const char *path = table_reader_path(reader);
    const uint64_t line = table_reader_line(reader);
    uint64_t head = 0, tail = 0;
    if (row->count != COLUMNS) {
        return import_bad_row(job, path, line, error,
                              "expected 3 columns (head, relation, tail), found %zu", row->count);
    }
    const char *reason = import_id_check(nodes, &row->fields[HEAD], &head);
    const char *fault = row->fields[HEAD].text;
    if (reason == NULL) {
        reason = import_id_check(nodes, &row->fields[TAIL], &tail);
        fault = row->fields[TAIL].text;
    }
    if (reason == NULL && row->fields[RELATION].bytes == 0) {
        reason = "the relation is empty";
        fault = "";
    }
    if (reason != NULL)
        return import_bad_row(job, path, line, error, "\"%.100s\": %s", fault, reason);
    struct edge edge = {.split = (uint8_t)split};
    enum status status = graph_builder_edge_type(builder, row->fields[RELATION].text,
                                                 row->fields[RELATION].bytes, &edge.type, error);
    if (status != STATUS_OK)
        return error_wrap(error, status, "%s:%llu", path, (unsigned long long)line);
    edge.src = import_id_add(nodes, &row->fields[HEAD], head);
    edge.dst = import_id_add(nodes, &row->fields[TAIL], tail);
    if (edge.src == NODE_NONE || edge.dst == NODE_NONE)
        return error_set(error, STATUS_INVALID, "%s: more than 2^32 entities", path);
    return graph_builder_edge(builder, &edge, error);
}

static enum status file_read(struct import_job *job, struct graph_builder *builder,
                             const char *path, enum graph_split split, struct error *error)
{
    struct table_reader *reader = NULL;
    struct table_row row;
    if (path == NULL) return STATUS_OK;
    enum status status = graph_builder_source(builder, path, error);
    if (status == STATUS_OK) status = table_reader_open(&reader, path, '\t', error);
    while (status == STATUS_OK) {
        status = table_reader_next(reader, &row, error);
        if (status != STATUS_OK || row.count == 0) break;
        status = triple_add(job, builder, reader, &row, split, error);
        if (status == STATUS_OK)
            status = import_progress(job, "triples read", graph_builder_edge_count(builder), error);
    }
    table_reader_close(reader);
    return status;
}

enum status import_triples(struct import_job *job, struct graph_summary *summary,
                           struct error *error)
{
    struct graph_builder *builder = NULL;
    bool names = false;
    if (job->train == NULL) return error_set(error, STATUS_USAGE, "triples needs --train");
    import_defaults(job, REVERSE_NONE, false);
    if (job->ids == IMPORT_IDS_AUTO && strcmp(job->train, "-") == 0)
        return error_set(error, STATUS_USAGE, "--train - needs --ids number or --ids name");
    enum status status = names_decide(job, job->train, &names, error);
    if (status == STATUS_OK) {
        status = graph_builder_create(&builder, &job->graph, names,
                                      (struct edge_layout){.typed = true, .split = true}, error);
    }
    if (status == STATUS_OK) status = file_read(job, builder, job->train, GRAPH_SPLIT_TRAIN, error);
    if (status == STATUS_OK) status = file_read(job, builder, job->valid, GRAPH_SPLIT_VALID, error);
    if (status == STATUS_OK) status = file_read(job, builder, job->test, GRAPH_SPLIT_TEST, error);
    if (status == STATUS_OK) status = graph_builder_finish(builder, summary, error);
    graph_builder_destroy(builder);
    return status;
}
