/* Configurations. Input: a file, then "key=value" overrides, with cuts between them. What loads is
 * saved, and loads again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/config.h"
#include "tests/fuzz/fuzz.h"

enum { OVERRIDES_MAX = 8 };

static void save_and_load(const struct config *config)
{
    struct error error = {.text = ""};
    struct config *again = NULL;
    const char *path = fuzz_path("saved.yaml");
    enum status status = config_save(config, path, &error);
    if (status == STATUS_OK) status = config_load(&again, path, NULL, 0, &error);
    if (status != STATUS_OK) fprintf(stderr, "a good configuration: %s\n", error.text);
    CHECK(status == STATUS_OK);
    config_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    char *overrides[OVERRIDES_MAX];
    size_t count = 0;
    struct config *config = NULL;
    struct error error = {.text = ""};
    (void)fuzz_folder();
    fuzz_write("run.yaml", fuzz_part(&input));
    for (; input.bytes > 0 && count < OVERRIDES_MAX; count++) {
        struct fuzz_input part = fuzz_part(&input);
        overrides[count] = strndup((const char *)part.data, part.bytes);
        CHECK(overrides[count] != NULL);
        overrides[count][strcspn(overrides[count], "\n")] = '\0';
    }
    enum status status = config_load(&config, fuzz_path("run.yaml"), overrides, count, &error);
    if (status == STATUS_OK) {
        save_and_load(config);
        config_destroy(config);
    } else {
        CHECK(error.text[0] != '\0' && config == NULL);
    }
    for (size_t i = 0; i < count; i++)
        free(overrides[i]);
    return 0;
}
