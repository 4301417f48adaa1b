/*
 * drover-controller token create: asks the controller that runs on this data directory.
 */
#pragma once

/* Prints a join token on stdout; the exit status. */
int token_command(const char *data_dir, int hours);
