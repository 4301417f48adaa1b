#include "controller/cli/run.h"

#include <string.h>

/* options: c config, n namespace, A all, f file, o output, l selector, w watch, F force, W wait,
 * L follow, d dry-run, t to, O for, T tail, x timeout (options.c). */
/* clang-format off */
const struct command commands[] = {
    {.name = "apply", .arguments = "", .summary = "make the cluster have what manifests say",
     .details = "Creates or changes each object of the files and says created, configured or\n"
                "unchanged. Nothing is applied when any document has a mistake.",
     .example = "drover apply -f web.yaml", .options = "cnfdo", .run = run_apply},
    {.name = "diff", .arguments = "", .summary = "show what apply would change",
     .details = "Exit status: 0 nothing differs, 1 something does, 2 wrong usage or no answer.",
     .example = "drover diff -f web.yaml", .options = "cnf", .run = run_diff},
    {.name = "get", .arguments = "KIND [NAME]", .summary = "list objects",
     .details = "Kinds: virtualmachines (vm), disks, hosts, migrations, events.",
     .example = "drover get vm -o wide\n  drover get migration -w\n  drover get vm -l app=web",
     .options = "cnAolw", .min = 1, .max = 2, .run = run_get},
    {.name = "describe", .arguments = "KIND/NAME", .summary = "everything about one object",
     .example = "drover describe vm/web-1", .options = "cn", .min = 1, .max = 2,
     .run = run_describe},
    {.name = "events", .arguments = "", .summary = "what has happened",
     .example = "drover events --for vm/web-1", .options = "cnAOwo", .run = run_events},
    {.name = "delete", .arguments = "[KIND/NAME…]", .summary = "delete objects",
     .details = "A machine is stopped first; --wait waits until it is gone. --force forgets an\n"
                "object whose host is gone without that host's word.",
     .example = "drover delete vm/web-1 --wait\n  drover delete -f web.yaml", .options = "cnfFWx",
     .min = 0, .max = -1, .run = run_delete},
    {.name = "start", .arguments = "[vm/]NAME", .summary = "switch a machine on",
     .example = "drover start web-1", .options = "cnWx", .min = 1, .max = 2, .run = run_start},
    {.name = "stop", .arguments = "[vm/]NAME", .summary = "switch a machine off",
     .details = "Presses the power button; after the machine's grace period, or at once with\n"
                "--force, cuts the power.",
     .example = "drover stop web-1 --wait", .options = "cnFWx", .min = 1, .max = 2,
     .run = run_stop},
    {.name = "restart", .arguments = "[vm/]NAME", .summary = "switch a machine off and on again",
     .example = "drover restart web-1", .options = "cnF", .min = 1, .max = 2, .run = run_restart},
    {.name = "migrate", .arguments = "[vm/]NAME", .summary = "move a machine to another host",
     .details = "The machine is stopped, its disks are copied and compared, then it starts on\n"
                "the target. Without --to the scheduler chooses.",
     .example = "drover migrate vm/web-1 --to beta --wait", .options = "cntWxo", .min = 1, .max = 2,
     .run = run_migrate},
    {.name = "wait", .arguments = "KIND/NAME PHASE", .summary = "wait until an object is in a phase",
     .example = "drover wait vm/web-1 Running --timeout 60", .options = "cnx", .min = 2, .max = 2,
     .run = run_wait},
    {.name = "console", .arguments = "[vm/]NAME", .summary = "a machine's serial console",
     .details = "Keys go to the machine. Ctrl-] ends the console; the machine runs on.",
     .example = "drover console web-1", .options = "cn", .min = 1, .max = 2, .run = run_console},
    {.name = "logs", .arguments = "[vm/]NAME", .summary = "what a machine has written to its serial port",
     .example = "drover logs web-1 --follow", .options = "cnLT", .min = 1, .max = 2,
     .run = run_logs},
    {.name = "explain", .arguments = "KIND[.FIELD…]", .summary = "what a manifest's fields mean",
     .example = "drover explain vm.spec.disks", .options = "", .min = 1, .max = 1, .offline = true,
     .run = run_explain},
    {.name = "cluster-info", .arguments = "", .summary = "the cluster in a few lines",
     .example = "drover cluster-info", .options = "co", .run = run_cluster_info},
    {.name = "version", .arguments = "", .summary = "versions of client and controller",
     .example = "drover version", .options = "c", .offline = true, .run = run_version},
    {.name = "completion", .arguments = "bash", .summary = "completion for a shell",
     .example = "source <(drover completion bash)", .options = "", .min = 1, .max = 1,
     .offline = true, .run = run_completion},
    {0},
};
/* clang-format on */

const struct command *command_find(const char *name)
{
    for (const struct command *command = commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}
