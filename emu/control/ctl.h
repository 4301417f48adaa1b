/*
 * `drover-emu ctl SOCKET COMMAND`: one request to a running drover-emu's control socket.
 */
#pragma once

/* Runs the sub-command; argv[0] is "ctl". Returns the exit status: 0, 1 failed, 2 usage. */
int ctl_main(int argc, char **argv);
