#include "graph/importers/package_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/check.h"
#include "common/file.h"
#include "graph/line_reader.h"

#define APT_HELPER "/usr/lib/apt/apt-helper"

static const char *const field_names[PACKAGE_FIELD_COUNT] = {
    "Package",     "Section",    "Description", "Depends",
    "Pre-Depends", "Recommends", "Suggests",    "Enhances"};

struct package_list {
    struct line_reader *reader;
};

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

enum status package_list_open(struct package_list **out, const char *path, struct error *error)
{
    *out = NULL;
    struct package_list *list = calloc(1, sizeof *list);
    CHECK(list != NULL);
    enum status status;
    if (ends_with(path, "_Packages") || ends_with(path, ".gz")) {
        status = line_reader_open(&list->reader, path, error);
    } else {
        struct text command = {.data = NULL};
        text_add(&command, APT_HELPER " cat-file '");
        for (const char *c = path; *c != '\0'; c++)
            text_add(&command, *c == '\'' ? "'\\''" : "%c", *c);
        text_add(&command, "'");
        status = line_reader_open_command(&list->reader, command.data, path, error);
        text_deinit(&command);
    }
    if (status != STATUS_OK) {
        package_list_close(list);
        return status;
    }
    *out = list;
    return STATUS_OK;
}

void package_list_close(struct package_list *list)
{
    if (list == NULL) return;
    line_reader_close(list->reader);
    free(list);
}

void package_deinit(struct package *package)
{
    for (int field = 0; field < PACKAGE_FIELD_COUNT; field++)
        text_deinit(&package->fields[field]);
}

static int field_find(const char *name, size_t bytes)
{
    for (int field = 0; field < PACKAGE_FIELD_COUNT; field++) {
        if (strlen(field_names[field]) == bytes &&
            strncasecmp(field_names[field], name, bytes) == 0)
            return field;
    }
    return PACKAGE_FIELD_COUNT;
}

static void value_add(struct text *text, const char *value)
{
    value += strspn(value, " \t");
    text_add(text, text->bytes > 0 ? "\n%s" : "%s", value);
}

enum status package_list_next(struct package_list *list, struct package *package,
                              struct error *error)
{
    char *line;
    size_t bytes;
    int field = PACKAGE_FIELD_COUNT;
    package->line = 0;
    for (int i = 0; i < PACKAGE_FIELD_COUNT; i++) {
        package->fields[i].bytes = 0;
        text_add(&package->fields[i], "%s", "");
    }
    for (;;) {
        enum status status = line_reader_next(list->reader, &line, &bytes, error);
        if (status != STATUS_OK) return status;
        if (line == NULL) return STATUS_OK;
        if (bytes == 0 && package->line > 0) return STATUS_OK;
        if (bytes == 0) continue;
        if (package->line == 0) package->line = line_reader_number(list->reader);
        if (line[0] == ' ' || line[0] == '\t') {
            if (field < PACKAGE_FIELD_COUNT) value_add(&package->fields[field], line);
            continue;
        }
        char *colon = memchr(line, ':', bytes);
        if (colon == NULL || colon == line) {
            return error_set(error, STATUS_CORRUPT,
                             "%s:%llu: expected \"Field: value\", found \"%.60s\"",
                             line_reader_path(list->reader),
                             (unsigned long long)line_reader_number(list->reader), line);
        }
        field = field_find(line, (size_t)(colon - line));
        if (field < PACKAGE_FIELD_COUNT) value_add(&package->fields[field], colon + 1);
    }
}

void package_relations(const char *field,
                       void (*visit)(void *context, const char *name, size_t bytes), void *context)
{
    for (const char *at = field; *at != '\0';) {
        at += strspn(at, " \t\n,|");
        size_t bytes = strcspn(at, " \t\n,|(:[<");
        if (bytes > 0) visit(context, at, bytes);
        at += bytes;
        /* What follows the name up to the next one: version, architecture, profile. */
        at += strcspn(at, ",|");
    }
}

static bool is_list(const char *name)
{
    static const char *const ends[] = {"", ".lz4", ".gz", ".xz", ".zst", ".bz2", ".lzma"};
    const char *component = strstr(name, "_main_binary-");
    if (component == NULL) return false;
    const char *packages = strstr(component, "_Packages");
    if (packages == NULL) return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(packages + strlen("_Packages"), ends[i]) == 0) return true;
    return false;
}

/* Updates and security repeat packages of the release that they belong to. */
static bool is_addition(const char *path)
{
    const char *begin = strstr(path, "_dists_");
    const char *end = strstr(path, "_main_binary-");
    if (begin == NULL || end == NULL) return true;
    begin += strlen("_dists_");
    return begin < end && memchr(begin, '-', (size_t)(end - begin)) != NULL;
}

static int path_compare(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;
    bool left_addition = is_addition(left), right_addition = is_addition(right);
    if (left_addition != right_addition) return left_addition ? 1 : -1;
    return strcmp(left, right);
}

enum status package_lists_find(const char *folder, char ***paths, size_t *count,
                               struct error *error)
{
    *paths = NULL;
    *count = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        enum status status = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
        return error_set_errno(error, status, errno, "%s (run apt-get update)", folder);
    }
    enum status status = STATUS_OK;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char path[FILE_PATH_BYTES];
        if (!is_list(entry->d_name)) continue;
        status = file_path(path, error, "%s/%s", folder, entry->d_name);
        if (status != STATUS_OK) break;
        *paths = realloc(*paths, (*count + 1) * sizeof **paths);
        CHECK(*paths != NULL);
        (*paths)[*count] = strdup(path);
        CHECK((*paths)[(*count)++] != NULL);
    }
    closedir(directory);
    if (status == STATUS_OK && *count == 0) {
        status = error_set(error, STATUS_NOT_FOUND,
                           "%s: there are no package lists of a main component: run apt-get update",
                           folder);
    }
    if (status == STATUS_OK) {
        qsort(*paths, *count, sizeof **paths, path_compare);
        return STATUS_OK;
    }
    package_lists_free(*paths, *count);
    *paths = NULL;
    *count = 0;
    return status;
}

void package_lists_free(char **paths, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(paths[i]);
    free(paths);
}
