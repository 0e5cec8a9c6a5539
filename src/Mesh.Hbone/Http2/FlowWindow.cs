namespace Mesh.Hbone.Http2;

/// <summary>How much may still be sent, or received, in one direction (RFC 9113, section 6.9.1). Arithmetic only.</summary>
internal struct FlowWindow(int initial)
{
    /// <summary>The window that every stream and connection begins with.</summary>
    public const int Default = 65_535;

    /// <summary>The largest window.</summary>
    public const int Max = int.MaxValue;

    // May become negative when the peer lowers SETTINGS_INITIAL_WINDOW_SIZE (section 6.9.2).
    private int _available = initial;

    public readonly int Available => _available;

    /// <summary>Takes from the window; false when there is not as much.</summary>
    public bool TryTake(int count)
    {
        if (count > _available)
        {
            return false;
        }

        _available -= count;
        return true;
    }

    /// <summary>Adds to the window, or, by a change of settings, takes away; false when it would become too large.</summary>
    public bool TryAdd(int count)
    {
        var sum = (long)_available + count;
        if (sum > Max)
        {
            return false;
        }

        _available = (int)sum;
        return true;
    }
}
