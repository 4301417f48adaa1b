#!/bin/sh
exec "$(dirname "$0")/lint.sh"
