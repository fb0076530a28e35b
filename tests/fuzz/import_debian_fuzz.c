/* Package lists. Input: a line of options, then up to three lists, of a release, its updates and
 * its security, with cuts between them. */
#include "tests/fuzz/import_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"lists/x_dists_y_main_binary-amd64_Packages",
                                        "lists/x_dists_y-updates_main_binary-amd64_Packages",
                                        "lists/x_dists_y-security_main_binary-amd64_Packages.gz"};
    struct fuzz_input input = {data, bytes};
    struct import_job job = import_begin(import_line(&input));
    fuzz_write("lists/other", (struct fuzz_input){0});
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)import_file(&input, names[i]);
    job.lists = fuzz_path("lists");
    import_end(import_debian, &job);
    return 0;
}
