#include "graph/importers/import_job.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/program.h"

#define BAD_ROWS_SHOWN 10 /* of those passed over */
#define PROGRESS_ROWS  (1u << 16)

void import_defaults(struct import_job *job, enum graph_reverse reverse, bool dedupe)
{
    if (!job->reverse_chosen) job->graph.reverse = reverse;
    if (job->dedupe == IMPORT_DEFAULT)
        job->graph.dedupe = dedupe || job->graph.reverse == REVERSE_SYMMETRIC;
    else
        job->graph.dedupe = job->dedupe == IMPORT_YES;
    job->graph.normalize_l2 = job->normalize == IMPORT_YES;
}

enum status import_bad_row(struct import_job *job, const char *path, uint64_t line,
                           struct error *error, const char *format, ...)
{
    char reason[ERROR_TEXT_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (job->bad_count < job->skip_bad) {
        if (++job->bad_count <= BAD_ROWS_SHOWN && !job->quiet)
            fprintf(stderr, "skipped %s:%llu: %s\n", path, (unsigned long long)line, reason);
        return STATUS_OK;
    }
    if (job->skip_bad == 0)
        return error_set(error, STATUS_CORRUPT, "%s:%llu: %s", path, (unsigned long long)line,
                         reason);
    return error_set(error, STATUS_CORRUPT, "%s:%llu: %s (after %llu bad rows that were skipped)",
                     path, (unsigned long long)line, reason, (unsigned long long)job->bad_count);
}

enum status import_progress(struct import_job *job, const char *what, uint64_t count,
                            struct error *error)
{
    if (count % PROGRESS_ROWS != 0) return STATUS_OK;
    if (program_stop_requested()) return error_set(error, STATUS_STOPPED, "stopped by a signal");
    const uint64_t now = clock_now_ns();
    const bool terminal = isatty(STDERR_FILENO) == 1;
    if (job->progress_ns == 0) job->progress_ns = now;
    if (job->quiet || now - job->progress_ns < (terminal ? NS_PER_S : 10 * NS_PER_S))
        return STATUS_OK;
    job->progress_ns = now;
    fprintf(stderr, "%s%llu %s%s", terminal ? "\r" : "", (unsigned long long)count, what,
            terminal ? " \r" : "\n");
    return STATUS_OK;
}

bool import_split_code(const struct field *field, enum graph_split *code)
{
    static const struct {
        const char *name;
        enum graph_split code;
    } names[] = {{"train", GRAPH_SPLIT_TRAIN}, {"valid", GRAPH_SPLIT_VALID},
                 {"val", GRAPH_SPLIT_VALID},   {"validation", GRAPH_SPLIT_VALID},
                 {"test", GRAPH_SPLIT_TEST},   {"none", GRAPH_SPLIT_NONE},
                 {"0", GRAPH_SPLIT_TRAIN},     {"1", GRAPH_SPLIT_VALID},
                 {"2", GRAPH_SPLIT_TEST},      {"3", GRAPH_SPLIT_NONE}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(field->text, names[i].name) == 0) {
            *code = names[i].code;
            return true;
        }
    }
    return false;
}

const char *import_id_check(const struct node_index *nodes, const struct field *field,
                            uint64_t *number)
{
    bool overflow;
    *number = 0;
    if (field->bytes == 0) return "the id is empty";
    if (node_index_has_names(nodes) || parse_u64(field, number, &overflow)) return NULL;
    return overflow ? "the id does not fit in 64 bits (--ids name keeps ids as text)"
                    : "the id is no number (--ids name keeps ids as text)";
}

uint32_t import_id_add(struct node_index *nodes, const struct field *field, uint64_t number)
{
    return node_index_has_names(nodes) ? node_index_add_name(nodes, field->text, field->bytes)
                                       : node_index_add_number(nodes, number);
}

uint32_t import_id_find(const struct node_index *nodes, const struct field *field, uint64_t number)
{
    return node_index_has_names(nodes) ? node_index_find_name(nodes, field->text, field->bytes)
                                       : node_index_find_number(nodes, number);
}
