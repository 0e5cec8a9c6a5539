using System.CommandLine;
using Mesh.Cli.Certificates;
using Mesh.Cli.Redirect;

return await new RootCommand("mesh, the command line of Mesh") { RedirectCommand.Create(), CertificatesCommand.Create() }.Parse(args).InvokeAsync();
