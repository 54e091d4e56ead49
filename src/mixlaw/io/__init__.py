"""Formats in and out: files of runs become observations, recipes become configurations of training frameworks."""
