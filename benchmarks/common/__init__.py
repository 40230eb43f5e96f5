"""What several scripts share: the machine, results files, paintings, methods, tables.

May import pixeltune and its own modules, no script.
"""
