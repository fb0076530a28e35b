/* Edges from a text table: shared by the importers whose edges are rows of ids. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "graph/importers/import_job.h"

#define COLUMNS_MAX 16

enum column { COLUMN_SRC, COLUMN_DST, COLUMN_WEIGHT, COLUMN_TYPE, COLUMN_TIME, COLUMN_IGNORED };

static const char *const column_names[] = {"src", "dst", "weight", "type", "time", "-"};

struct edge_columns {
    enum column kinds[COLUMNS_MAX];
    uint32_t count;
};

static enum status column_add(struct edge_columns *columns, const char *name, size_t bytes,
                              struct error *error)
{
    if (columns->count == COLUMNS_MAX)
        return error_set(error, STATUS_USAGE, "--columns: more than %d columns", COLUMNS_MAX);
    for (int kind = COLUMN_SRC; kind <= COLUMN_IGNORED; kind++) {
        if (strlen(column_names[kind]) != bytes || memcmp(column_names[kind], name, bytes) != 0)
            continue;
        for (uint32_t i = 0; i < columns->count && kind != COLUMN_IGNORED; i++) {
            if ((int)columns->kinds[i] == kind)
                return error_set(error, STATUS_USAGE, "--columns: %s is there twice",
                                 column_names[kind]);
        }
        columns->kinds[columns->count++] = (enum column)kind;
        return STATUS_OK;
    }
    return error_set(error, STATUS_USAGE,
                     "--columns: \"%.*s\" is none of src, dst, weight, type, time and - (ignored)",
                     (int)bytes, name);
}

enum status import_edge_columns(const char *names, struct edge_columns **out,
                                struct edge_layout *layout, struct error *error)
{
    *out = NULL;
    *layout = (struct edge_layout){.typed = false};
    struct edge_columns *columns = calloc(1, sizeof *columns);
    CHECK(columns != NULL);
    enum status status = STATUS_OK;
    if (names == NULL) names = "src,dst";
    for (const char *at = names; status == STATUS_OK; at++) {
        size_t bytes = strcspn(at, ",");
        status = column_add(columns, at, bytes, error);
        at += bytes;
        if (*at == '\0') break;
    }
    unsigned seen = 0;
    for (uint32_t i = 0; i < columns->count; i++)
        seen |= 1u << columns->kinds[i];
    if (status == STATUS_OK && (seen & 3) != 3)
        status = error_set(error, STATUS_USAGE, "--columns: src and dst are needed, found \"%s\"",
                           names);
    layout->weighted = (seen >> COLUMN_WEIGHT & 1) != 0;
    layout->typed = (seen >> COLUMN_TYPE & 1) != 0;
    layout->timed = (seen >> COLUMN_TIME & 1) != 0;
    if (status == STATUS_OK)
        *out = columns;
    else
        import_edge_columns_destroy(columns);
    return status;
}

bool import_edge_column_is_id(const struct edge_columns *columns, size_t index)
{
    return index < columns->count && columns->kinds[index] <= COLUMN_DST;
}

void import_edge_columns_destroy(struct edge_columns *columns)
{
    free(columns);
}

/* What is wrong with the row, or NULL. `fault` is the field, `ids` the numbers of src and dst. */
static const char *row_check(const struct node_index *nodes, const struct edge_columns *columns,
                             const struct table_row *row, struct edge *edge, uint64_t ids[2],
                             const char **fault)
{
    const char *reason = NULL;
    *edge = (struct edge){.weight = 1.0f};
    for (uint32_t i = 0; i < columns->count && reason == NULL; i++) {
        const struct field *field = &row->fields[i];
        *fault = field->text;
        switch (columns->kinds[i]) {
        case COLUMN_SRC:
        case COLUMN_DST:
            reason = import_id_check(nodes, field, &ids[columns->kinds[i]]);
            break;
        case COLUMN_WEIGHT:
            if (!parse_f32(field, &edge->weight)) reason = "the weight is no finite number";
            break;
        case COLUMN_TIME:
            if (!parse_i64(field, &edge->time)) reason = "the time is no whole number of 64 bits";
            break;
        case COLUMN_TYPE:
            if (field->bytes == 0) reason = "the type is empty";
            break;
        case COLUMN_IGNORED:
            break;
        }
    }
    return reason;
}

/* The node of one end of an edge; new ones are added unless `fixed`. */
static const char *node_of(struct node_index *nodes, const struct field *field, uint64_t number,
                           bool fixed, uint32_t *node)
{
    *node = fixed ? import_id_find(nodes, field, number) : import_id_add(nodes, field, number);
    if (*node != NODE_NONE) return NULL;
    return fixed ? "there is no node with this id" : "more than 2^32 nodes";
}

/* A row that is bad for any reason adds no nodes: all is checked before. */
static const char *edge_parse(struct graph_builder *builder, const struct edge_columns *columns,
                              const struct table_row *row, bool fixed, struct edge *edge,
                              const char **fault)
{
    struct node_index *nodes = graph_builder_nodes(builder);
    uint64_t ids[2] = {0, 0};
    const char *reason = row_check(nodes, columns, row, edge, ids, fault);
    for (uint32_t i = 0; i < columns->count && reason == NULL; i++) {
        const enum column kind = columns->kinds[i];
        if (kind != COLUMN_SRC && kind != COLUMN_DST) continue;
        *fault = row->fields[i].text;
        reason = node_of(nodes, &row->fields[i], ids[kind], fixed,
                         kind == COLUMN_SRC ? &edge->src : &edge->dst);
    }
    return reason;
}

static enum status row_import(struct import_job *job, struct graph_builder *builder,
                              struct table_reader *reader, const struct edge_columns *columns,
                              const struct table_row *row, bool fixed, struct error *error)
{
    struct edge edge;
    const char *fault = "";
    const char *path = table_reader_path(reader);
    const uint64_t line = table_reader_line(reader);
    if (row->count != columns->count) {
        return import_bad_row(job, path, line, error, "expected %u columns, found %zu",
                              columns->count, row->count);
    }
    const char *reason = edge_parse(builder, columns, row, fixed, &edge, &fault);
    if (reason != NULL)
        return import_bad_row(job, path, line, error, "\"%.100s\": %s", fault, reason);
    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->kinds[i] != COLUMN_TYPE) continue;
        enum status status = graph_builder_edge_type(builder, row->fields[i].text,
                                                     row->fields[i].bytes, &edge.type, error);
        if (status != STATUS_OK)
            return error_wrap(error, status, "%s:%llu", path, (unsigned long long)line);
    }
    return graph_builder_edge(builder, &edge, error);
}

enum status import_edge_rows(struct import_job *job, struct graph_builder *builder,
                             struct table_reader *reader, const struct edge_columns *columns,
                             bool fixed, struct error *error)
{
    struct table_row row;
    bool header = job->header;
    enum status status = STATUS_OK;
    for (uint64_t rows = 1; status == STATUS_OK; rows++) {
        status = table_reader_next(reader, &row, error);
        if (status != STATUS_OK || row.count == 0) break;
        if (!header) status = row_import(job, builder, reader, columns, &row, fixed, error);
        header = false;
        if (status == STATUS_OK) status = import_progress(job, "edges read", rows, error);
    }
    return status;
}
