/* Values of command-line options that several commands share. */
#include <stdlib.h>
#include <string.h>

#include "graph/graph_commands.h"
#include "graph/table_reader.h"

bool command_parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *number)
{
    const struct field field = {.text = (char *)text, .bytes = strlen(text)};
    uint64_t value;
    if (!parse_u64(&field, &value, NULL) || value < least || value > most) return false;
    *number = value;
    return true;
}

bool command_parse_size(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    size_t digits = strspn(text, "0123456789");
    unsigned shift = 0;
    if (text[digits] != '\0') {
        const char *suffix = strchr(suffixes, text[digits]);
        if (suffix == NULL || text[digits + 1] != '\0') return false;
        shift = 10 * (unsigned)(suffix - suffixes + 1);
    }
    const struct field field = {.text = (char *)text, .bytes = digits};
    uint64_t value;
    if (!parse_u64(&field, &value, NULL) || value > UINT64_MAX >> shift) return false;
    *bytes = value << shift;
    return true;
}
