/* Debian's package lists as apt keeps them: one stanza of "Field: value" lines a package.
 * source: Debian Policy Manual, chapter 5 (control files) and 7 (relationships) */
#ifndef ANTHILL_GRAPH_IMPORTERS_PACKAGE_LIST_H
#define ANTHILL_GRAPH_IMPORTERS_PACKAGE_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/text.h"

enum package_field {
    PACKAGE_NAME,
    PACKAGE_SECTION,
    PACKAGE_DESCRIPTION,
    PACKAGE_DEPENDS,
    PACKAGE_PRE_DEPENDS,
    PACKAGE_RECOMMENDS,
    PACKAGE_SUGGESTS,
    PACKAGE_ENHANCES,
    PACKAGE_FIELD_COUNT
};

/* A stanza; fields that are not there are empty. A field's further lines follow its first, each
 * after a line end. */
struct package {
    struct text fields[PACKAGE_FIELD_COUNT];
    uint64_t line; /* where the stanza begins; 0: the list is over */
};

struct package_list;

/* Lists compressed by .gz are read as they are, others through apt's own helper.
 *   owner    returns owned; package_list_close */
enum status package_list_open(struct package_list **list, const char *path,
                              struct error *error) MUST_CHECK;
void package_list_close(struct package_list *list);

/* Fills `package`, which begins as all zeros and keeps its memory from call to call.
 *   errors   STATUS_CORRUPT with path:line for a line that is no field */
enum status package_list_next(struct package_list *list, struct package *package,
                              struct error *error) MUST_CHECK;
void package_deinit(struct package *package);

/* Calls `visit` with each package name of a relationship field, alternatives too, without version,
 * architecture and build profile. */
void package_relations(const char *field,
                       void (*visit)(void *context, const char *name, size_t bytes), void *context);

/* The lists of a folder: every main component, in the order of precedence (releases before their
 * updates and security, then by name).
 *   errors   STATUS_NOT_FOUND when there is none, and what to do about it
 *   owner    returns owned; package_lists_free */
enum status package_lists_find(const char *folder, char ***paths, size_t *count,
                               struct error *error) MUST_CHECK;
void package_lists_free(char **paths, size_t count);

#endif
