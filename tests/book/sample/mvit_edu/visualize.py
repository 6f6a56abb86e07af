def set_style():
    import matplotlib

    matplotlib.rcParams["figure.dpi"] = 60
